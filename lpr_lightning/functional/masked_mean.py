"""Means over the entries that count."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(value: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Return the mean of the entries of `value` where `mask` is True, over `dim` or over all; 0 without any.

    Entries outside the mask change nothing, whatever they hold.

    Args:
        value: any shape.
        mask: True on the entries that count, of the same shape.
        dim: the axis to average over; None averages over all.

    >>> masked_mean(torch.tensor([[1.0, 2.0], [3.0, torch.nan]]), torch.tensor([[True, True], [True, False]]), 1)
    tensor([1.5000, 3.0000])
    """
    return torch.where(mask, value, 0.0).sum(dim) / mask.sum(dim).clamp_min(1)
