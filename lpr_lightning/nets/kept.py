"""Values computed from weights, kept until a weight changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Kept:
    """Keeps one tensor for as long as the tensors that it was computed from are what they were.

    A change in place (an optimizer's step, loading a state dict) and a replaced tensor are both noticed. With
    gradients on, nothing is kept and nothing kept is given.

    >>> kept, weight = Kept(), torch.ones(2)
    >>> with torch.no_grad():
    ...     first = kept([weight], lambda: 2 * weight)
    ...     same = kept([weight], lambda: 2 * weight) is first
    ...     _ = weight.add_(1)
    ...     same, kept([weight], lambda: 2 * weight)
    (True, tensor([4., 4.]))
    """

    def __init__(self) -> None:
        self._value: tuple[tuple[int, ...], Tensor] | None = None

    def __call__(self, weights: Sequence[Tensor], compute: Callable[[], Tensor]) -> Tensor:
        """Return `compute()`, computed anew only if one of `weights` has changed."""
        if torch.is_grad_enabled():
            return compute()
        key = tuple(number for one in weights for number in (0 if one.is_inference() else one._version, one.data_ptr()))
        if self._value is None or self._value[0] != key:
            self._value = key, compute()
        return self._value[1]

    def __deepcopy__(self, memo: object) -> Kept:
        """Copies keep values of their own."""
        return Kept()
