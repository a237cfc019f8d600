"""Whether what a simulator predicts practice to bring is what later answers show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

NUMBERS = (0, 1, 2, 3, 5)
"""Least number of answers in between of each group of pairs; the last group has no upper end."""
KINDS = (1 / 3, 2 / 3)
"""Shares of right answers in between, below and above which most are wrong, and right."""


class LaterAnswers(NamedTuple):
    """Pairs of an earlier answer (R rows) and later ones (H columns) on a concept of it, [R, H] each.

    `pair`: True where there is such a later answer; `between`: answers on the earlier one's concepts strictly in
    between; `right`: the right ones among these; `others`: answers in between on other concepts.
    """

    pair: Tensor
    between: Tensor
    right: Tensor
    others: Tensor


class Interval(NamedTuple):
    """A figure and the 95 % percentile interval of a bootstrap over learners."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GainCalibration:
    """How predicted changes compare with observed ones.

    `slope` of the observed change on the predicted one (least squares with an intercept): 1 where predictions are right
    but for a constant, below 1 where differences between them are overstated, NaN where all predictions are the same.
    `error`: mean absolute difference of the mean predicted and the mean observed change in a cell, weighted by pairs.
    `count` [G] pairs, `predicted` [G] and `observed` [G] mean change in each cell, 0 in an empty one.
    """

    slope: Interval
    error: Interval
    count: Tensor
    predicted: Tensor
    observed: Tensor


def later_answers(concept: Tensor, correct: Tensor, mask: Tensor) -> LaterAnswers:
    """Return which later answers are on a concept of the earlier one, and what lies between.

    Args:
        concept: of the earlier answer, then of the later ones in order, [R, 1 + H, C] int64, -1 where unused.
        correct: the same answers, [R, 1 + H] in [0, 1].
        mask: True where there is a later answer, [R, H].

    >>> concept, correct = torch.tensor([[[0], [0], [1], [0]]]), torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    >>> found = later_answers(concept, correct, torch.ones(1, 3).bool())
    >>> found.pair.tolist(), found.between.tolist(), found.right.tolist(), found.others.tolist()
    ([[True, False, True]], [[0, 1, 1]], [[0.0, 1.0, 1.0]], [[0, 0, 1]])
    """
    first, later = concept[:, :1, :, None], concept[:, 1:, None, :]
    pair = ((first == later) & (first >= 0)).any(3).any(2) & mask
    between = pair.long().cumsum(1) - pair.long()
    hit = pair * correct[:, 1:]
    place = torch.arange(mask.shape[1], device=mask.device)
    return LaterAnswers(pair, between, hit.cumsum(1) - hit, place - between)


def cells_by_number(between: Tensor) -> Tensor:
    """Return the group of `NUMBERS` that numbers of answers in between [R] int64 fall into, [R] int64.

    >>> cells_by_number(torch.tensor([0, 2, 3, 4, 5, 19])).tolist()
    [0, 2, 3, 3, 4, 4]
    """
    return torch.bucketize(between, torch.tensor(NUMBERS, device=between.device), right=True) - 1


def cells_by_kind(between: Tensor, right: Tensor) -> Tensor:
    """Return the group of answers in between by their kind, [R] int64: none, mostly wrong, mixed, mostly right.

    >>> cells_by_kind(torch.tensor([0, 3, 2, 3]), torch.tensor([0.0, 1.0, 1.0, 2.0])).tolist()
    [0, 1, 2, 3]
    """
    share = right.double() / between.clamp_min(1)
    low, high = KINDS
    kind = 1 + (share > low + 1e-9).long() + (share >= high - 1e-9).long()
    return torch.where(between == 0, 0, kind)


def gain_calibration(
    predicted: Tensor, observed: Tensor, cell: Tensor, cells: int, learner: Tensor, resamples: int = 1000, seed: int = 0
) -> GainCalibration:
    """Return how predicted changes of success compare with observed ones, cell by cell and over all pairs.

    The observed change is a later answer less the success predicted in the state before, so that learners are matched
    on that state; the predicted one is the success predicted after the steps in between less the same. If the later
    answer's probability is right in every pair, given what was known before, the two have the same mean in every cell
    that is made of that and of what was practised. A cell made of the answers in between (`cells_by_kind`) is another
    matter: right answers tell of a learner who was better than the state has it, so that a model that is not certain
    of its learners shows an error there however well it knows what practice brings.

    Args:
        predicted: change, [R].
        observed: change, [R].
        cell: of each pair, [R] int64 from 0 to below `cells`.
        cells: G.
        learner: of each pair, [R] int64; the bootstrap draws learners, each with all pairs.
        resamples: of the bootstrap; with 0 intervals are the figures themselves.
        seed: of a generator of its own.

    >>> found = gain_calibration(
    ...     torch.tensor([0.0, 0.2, 0.2]), torch.tensor([0.1, 0.2, 0.4]), torch.tensor([0, 1, 1]), 2, torch.arange(3), 0
    ... )
    >>> round(found.slope.value, 3), round(found.error.value, 3)
    (1.0, 0.1)
    """
    member = torch.unique(learner, return_inverse=True)[1]
    learners = int(member.max()) + 1 if len(member) else 0
    first, second = predicted.double().cpu(), observed.double().cpu()
    columns = [torch.ones_like(first), first, second, first * first, first * second]
    sums = torch.stack([torch.bincount(member, column, learners) for column in columns], 1).double()  # [learners, 5]
    place = member * cells + cell
    by_cell = torch.stack([torch.bincount(place, column, learners * cells) for column in columns[:3]], 1)
    by_cell = by_cell.double().view(learners, cells, 3)
    whole = torch.ones(1, learners, dtype=torch.float64)
    slope, error = _slope(whole @ sums), _error(torch.einsum("sl,lgc->sgc", whole, by_cell))
    intervals = [Interval(float(figure[0]), float(figure[0]), float(figure[0])) for figure in (slope, error)]
    if resamples and learners:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(learners, (resamples, learners), generator=generator)
        weight = torch.zeros(resamples, learners, dtype=torch.float64).scatter_add_(
            1, drawn, torch.ones(resamples, learners, dtype=torch.float64)
        )
        drawn_figures = _slope(weight @ sums), _error(torch.einsum("sl,lgc->sgc", weight, by_cell))
        intervals = [_interval(one.value, figures) for one, figures in zip(intervals, drawn_figures, strict=True)]
    total = by_cell.sum(0)
    mean = total[:, 1:] / total[:, :1].clamp_min(1)
    return GainCalibration(intervals[0], intervals[1], total[:, 0].long(), mean[:, 0], mean[:, 1])


def _slope(sums: Tensor) -> Tensor:
    """Return the slopes [S] of sums [S, 5] of 1, x, y, x x, x y; NaN without any spread of x."""
    count, first, second, square, product = sums.unbind(1)
    spread = square - first * first / count
    slope = (product - first * second / count) / spread
    return torch.where(spread > 1e-9 * count, slope, torch.nan)


def _error(sums: Tensor) -> Tensor:
    """Return the errors [S] of sums [S, G, 3] of 1, x, y: sum_g |x_g - y_g| over the number of pairs."""
    return (sums[..., 1] - sums[..., 2]).abs().sum(1) / sums[..., 0].sum(1).clamp_min(1)


def _interval(value: float, figures: Tensor) -> Interval:
    known = figures[figures.isfinite()]
    if not len(known):
        return Interval(value, value, value)
    low, high = torch.quantile(known, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(value, low, high)
