"""Isotonic regression."""

from __future__ import annotations

import torch
from torch import Tensor


def isotonic(value: Tensor, weight: Tensor) -> Tensor:
    """Return the non-decreasing sequence nearest to `value` in weighted squares, [S].

    Pool adjacent violators.

    Args:
        value: a sequence, [S].
        weight: its weights, all above 0, [S].

    >>> isotonic(torch.tensor([1.0, 3.0, 2.0]), torch.ones(3))
    tensor([1.0000, 2.5000, 2.5000])
    """
    means: list[float] = []
    weights: list[float] = []
    sizes: list[int] = []
    for one, its_weight in zip(value.tolist(), weight.tolist(), strict=True):
        means.append(one)
        weights.append(its_weight)
        sizes.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            right, right_weight, right_size = means.pop(), weights.pop(), sizes.pop()
            total = weights[-1] + right_weight
            means[-1] = (means[-1] * weights[-1] + right * right_weight) / total
            weights[-1] = total
            sizes[-1] += right_size
    pooled = torch.tensor(means, dtype=value.dtype, device=value.device)
    return pooled.repeat_interleave(torch.tensor(sizes, dtype=torch.int64, device=value.device))
