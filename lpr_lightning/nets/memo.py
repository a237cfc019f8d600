"""Values computed from tensors, memoised until one of these changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Memo:
    """Memoises one tensor for as long as the tensors that it was computed from are what they were.

    A change in place (an optimizer's step, loading a state dict), a replaced tensor, and autocast switched on or off
    are noticed; what is written through `.data` of the same memory, or in place into tensors of inference mode, is
    not. Where gradients are recorded and one of the tensors requires them, nothing is memoised and nothing memoised is
    given. Copies, and what is pickled, start empty.

    >>> memo, weight = Memo(), torch.ones(2)
    >>> first = memo([weight], lambda: 2 * weight)
    >>> same = memo([weight], lambda: 2 * weight) is first
    >>> _ = weight.add_(1)
    >>> same, memo([weight], lambda: 2 * weight)
    (True, tensor([4., 4.]))
    """

    def __init__(self) -> None:
        self._sources: list[Tensor] = []  # held, so that no other tensor can take their identity
        self._key: tuple[bool, list[tuple[int, int, int]]] = False, []
        self._value: Tensor | None = None

    def __call__(self, sources: Sequence[Tensor], compute: Callable[[], Tensor]) -> Tensor:
        """Return `compute()`, computed anew only if one of `sources` has changed."""
        if torch.is_grad_enabled() and any(one.requires_grad for one in sources):
            return compute()
        places = [(id(one), 0 if one.is_inference() else one._version, one.data_ptr()) for one in sources]
        key = torch.is_autocast_enabled(sources[0].device.type), places
        if self._value is None or self._key != key:
            with torch.inference_mode(False), torch.no_grad():
                self._value = compute()
            self._sources, self._key = list(sources), key
        return self._value

    def __reduce__(self) -> tuple[type[Memo], tuple[()]]:
        return Memo, ()
