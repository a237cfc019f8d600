"""Rows of tensors: states, and dataclasses of tensors, moved, indexed and repeated together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

PAD = -1
"""Fills unused places of every concept, item and action tensor."""

State = tuple[Tensor, ...]
"""A learner's, a simulator's or a policy's state: tensors whose first axis is the row, to be indexed and repeated."""


def select_rows(state: State, index: Tensor) -> State:
    """Return the rows at `index` of every tensor of a state, or those where a mask [B] is True."""
    if index.dtype == torch.bool:
        index = index.nonzero().squeeze(1)
    return tuple(part.index_select(0, index) for part in state)


def repeat_rows(state: State, count: int) -> State:
    """Return every row of a state `count` times, copies side by side."""
    return tuple(part.repeat_interleave(count, 0) for part in state) if count > 1 else state


def keep_rows(before: State, after: State, changed: Tensor) -> State:
    """Return `after` where `changed` [B] is True, else `before`."""
    return tuple(
        torch.where(changed.view(-1, *[1] * (old.dim() - 1)), new, old) for old, new in zip(before, after, strict=True)
    )


def listed(mask: Tensor) -> Tensor:
    """Return the places where a mask [B, A] is True, in order, [B, C] int64, -1 behind the last.

    >>> listed(torch.tensor([[False, True, True], [True, False, False]]))
    tensor([[ 1,  2],
            [ 0, -1]])
    """
    count = mask.sum(1)
    widest = int(count.max()) if len(count) else 0
    place = mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :widest]
    return place.masked_fill(torch.arange(widest, device=mask.device) >= count[:, None], PAD)


class TensorData:
    """A dataclass of tensors with rows on the first axis, moved, indexed and repeated together; None stays None."""

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        changes: dict[str, Tensor | TensorData | State] = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                changes[name] = function(value)
            elif isinstance(value, TensorData):
                changes[name] = value._map(function)
            elif isinstance(value, tuple):
                changes[name] = tuple(function(part) for part in value)
        return replace(self, **changes)  # type: ignore[type-var]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return a copy on `device`; nobody waits for pinned tensors to arrive."""
        return self._map(lambda value: value.to(device, non_blocking=non_blocking or value.is_pinned()))

    def pin_memory(self) -> Self:
        """Return a copy in pinned memory, from where an accelerator takes it while others work."""
        return self._map(lambda value: value.pin_memory())

    def select(self, index: Tensor) -> Self:
        """Return the rows at `index` (a tensor of positions or a mask over the first axis)."""
        return self._map(lambda value: value[index])

    def repeat(self, count: int) -> Self:
        """Return every row `count` times, copies side by side."""
        return self._map(lambda value: value.repeat_interleave(count, 0))

    def put(self, index: Tensor, rows: Self) -> Self:
        """Return a copy whose rows at `index` [R] int64 are those of `rows`, which has R rows of the same shapes."""
        changes: dict[str, Tensor | TensorData | State] = {}
        for name, value in vars(self).items():
            new = vars(rows)[name]
            if isinstance(value, Tensor):
                changes[name] = value.index_copy(0, index, new)
            elif isinstance(value, TensorData):
                changes[name] = value.put(index, new)
            elif isinstance(value, tuple):
                changes[name] = tuple(old.index_copy(0, index, part) for old, part in zip(value, new, strict=True))
        return replace(self, **changes)  # type: ignore[type-var]

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of several objects one after another; their tensors must be alike but for the first axis."""
        joined: dict[str, Tensor | TensorData] = {}
        for name in vars(parts[0]):
            values = [vars(part)[name] for part in parts]
            if isinstance(values[0], Tensor):
                joined[name] = torch.cat(values)
            elif isinstance(values[0], TensorData):
                joined[name] = type(values[0]).join(values)
        return replace(parts[0], **joined)  # type: ignore[type-var]
