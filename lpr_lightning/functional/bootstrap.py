"""Confidence intervals by resampling: of a mean over rows, of the AUC and of a ratio over learners."""

from __future__ import annotations

import math

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
    low, high = _percentile_interval(torch.cat(means), level).to(value)
    return low, high


def grouped_auc(
    probability: Tensor, correct: Tensor, group: Tensor, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the exact AUC of all rows and the percentile interval of a bootstrap that draws whole groups.

    Answers of one learner depend on one another: learners are drawn with replacement, each with all its answers. Ties
    count as one half. Resamples in which all answers are alike are left out. NaN if a prediction is not finite.

    Args:
        probability: predicted, [R].
        correct: 0 or 1, [R].
        group: number of the learner, [R] int64.
        resamples: number of resamples; with 0 the interval is the AUC itself.
        seed: of a generator of its own.
        level: share of the resampled figures inside the interval.

    >>> grouped_auc(torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([0, 0, 1, 1]), torch.arange(4), resamples=0)
    (0.875, 0.875, 0.875)
    """
    if not bool(probability.isfinite().all()):
        return math.nan, math.nan, math.nan
    tie, member = (torch.unique(value, return_inverse=True)[1] for value in (probability, group))
    learners = int(member.max()) + 1 if len(member) else 0
    ties, right = int(tie.max()) + 1 if len(tie) else 0, correct >= 0.5
    of_all = _weighted_auc(tie, right, torch.ones(len(tie), dtype=torch.float64, device=tie.device), ties)
    generator = torch.Generator().manual_seed(seed)
    figures = []
    for _ in range(resamples if learners else 0):
        drawn = torch.randint(learners, (learners,), generator=generator)
        weight = drawn.bincount(minlength=learners).to(tie.device, torch.float64)
        figures.append(_weighted_auc(tie, right, weight[member], ties))
    found = torch.tensor([figure for figure in figures if not math.isnan(figure)], dtype=torch.float64)
    if not len(found):
        return of_all, of_all, of_all
    low, high = _percentile_interval(found, level).tolist()
    return of_all, low, high


def grouped_ratio(
    numerator: Tensor, denominator: Tensor, group: Tensor, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Return sum(numerator) / sum(denominator) and the percentile interval of a bootstrap that draws whole groups.

    With a denominator of ones it is the mean of rows of which those of one learner depend on one another. 0 where the
    denominator is; NaN without rows.

    Args:
        numerator: [R].
        denominator: at least 0, [R].
        group: number of the learner, [R] int64.
        resamples: number of resamples; with 0 the interval is the ratio itself.
        seed: of a generator of its own.
        level: share of the resampled figures inside the interval.

    >>> one = torch.tensor([1.0, 2.0, 3.0])
    >>> grouped_ratio(one, 2 * one, torch.tensor([0, 0, 1]), resamples=9)
    (0.5, 0.5, 0.5)
    """
    if not len(group):
        return math.nan, math.nan, math.nan
    member = torch.unique(group, return_inverse=True)[1].cpu()
    learners = int(member.max()) + 1
    sums = torch.stack([torch.bincount(member, part.double().cpu(), learners) for part in (numerator, denominator)], 1)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(learners, (resamples, learners), generator=generator)
    totals = torch.cat([sums.sum(0, keepdim=True), sums[drawn].sum(1)])
    ratio = torch.where(totals[:, 1] > 0, totals[:, 0] / totals[:, 1], 0.0)
    if not resamples:
        return (float(ratio[0]),) * 3
    low, high = _percentile_interval(ratio[1:], level).tolist()
    return float(ratio[0]), low, high


def _weighted_auc(tie: Tensor, right: Tensor, weight: Tensor, ties: int) -> float:
    """Return the AUC of weighted rows whose predictions rank as `tie`; not a number where all answers are alike."""
    total = torch.bincount(tie, weight, ties)
    positive = torch.bincount(tie[right], weight[right], ties)
    negative = total - positive
    below = negative.cumsum(0) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def _percentile_interval(figure: Tensor, level: float) -> Tensor:
    """Return the bounds, [2], that hold a share `level` of the resampled figures [S] float64 in their middle."""
    tail = (1 - level) / 2
    return torch.quantile(figure, torch.tensor([tail, 1 - tail], dtype=torch.float64))
