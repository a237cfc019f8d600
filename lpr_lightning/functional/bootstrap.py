"""Confidence intervals by resampling."""

from __future__ import annotations

import torch
from torch import Tensor

_DRAWS_AT_ONCE = 4_000_000


def bootstrap_mean_interval(value: Tensor, resamples: int, seed: int, level: float = 0.95) -> tuple[Tensor, Tensor]:
    """Return the percentile interval of the mean of `value` [R] as two scalars, low and high.

    Which rows each resample takes depends only on the seed and on R: intervals of two policies on the same learners, in
    the same order, rest on the same resamples. Without rows both are 0.

    Args:
        value: one number for each row, [R].
        resamples: number of resamples, from 1 on.
        seed: of a generator of its own.
        level: share of the resampled means inside the interval.

    >>> bootstrap_mean_interval(torch.tensor([2.0, 2.0]), resamples=10, seed=0)
    (tensor(2.), tensor(2.))
    """
    rows = value.shape[0]
    if rows == 0:
        return value.new_zeros(()), value.new_zeros(())
    generator = torch.Generator().manual_seed(seed)
    source = value.detach().double().cpu()
    means = []
    at_once = max(1, _DRAWS_AT_ONCE // rows)
    for first in range(0, resamples, at_once):
        index = torch.randint(rows, (min(at_once, resamples - first), rows), generator=generator)
        means.append(source[index].mean(1))
    tail = (1 - level) / 2
    low, high = torch.quantile(torch.cat(means), torch.tensor([tail, 1 - tail], dtype=torch.float64)).to(value)
    return low, high
