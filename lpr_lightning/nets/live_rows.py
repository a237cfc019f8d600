"""Right-padded rows without their padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LiveRows:
    """Where the real steps of right-padded rows lie when they stand time-major, longest row first, without padding.

    `order` [B] are the rows, longest first; `batch_sizes` is how many rows are still going on at each step; `token`
    [S] is the place of each real step in the flattened [B * T] rows; `steps` is T.

    >>> live = LiveRows.of(torch.tensor([[True, False, False], [True, True, False]]))
    >>> live.batch_sizes, live.token.tolist()
    ([2, 1], [3, 0, 4])
    >>> live.pack(torch.tensor([[7, 0, 0], [8, 9, 0]]))
    tensor([8, 7, 9])
    >>> live.unpack(torch.tensor([8, 7, 9]))
    tensor([[7, 0, 0],
            [8, 9, 0]])
    """

    order: Tensor
    batch_sizes: list[int]
    token: Tensor
    steps: int

    @classmethod
    def of(cls, mask: Tensor) -> LiveRows:
        """Return the places of the real steps of `mask` [B, T], which is True on the first steps of each row."""
        steps = mask.shape[1]
        lengths, order = mask.sum(1).sort(descending=True, stable=True)
        going = lengths > torch.arange(steps, device=mask.device)[:, None]
        step, row = going.nonzero(as_tuple=True)
        sizes = [size for size in going.sum(1).tolist() if size]
        return cls(order, sizes, order[row] * steps + step, steps)

    @property
    def back(self) -> Tensor:
        """Where each row stands in `order`, [B]: `x_sorted[live.back]` puts rows back."""
        return self.order.argsort()

    def pack(self, rows: Tensor) -> Tensor:
        """Return the real steps of `rows` [B, T, …] as [S, …]."""
        return rows.flatten(0, 1).index_select(0, self.token)

    def unpack(self, tokens: Tensor) -> Tensor:
        """Return [S, …] as padded rows [B, T, …], zero where there is no step."""
        rows = tokens.new_zeros(len(self.order) * self.steps, *tokens.shape[1:])
        return rows.index_copy(0, self.token, tokens).view(len(self.order), self.steps, *tokens.shape[1:])
