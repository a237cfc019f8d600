"""How far predicted success can be trusted: predicted against observed success."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked

Binning = Literal["width", "count"]
"""Bins of equal width in [0, 1], or bins with equally many predictions."""


@dataclass(frozen=True)
class Reliability:
    """The bins that hold predictions, S of them, from low to high.

    `predicted` and `observed` [S] are the mean prediction and the share of successes; `low` and `high` [S] the Wilson
    interval of the share; `count` [S] int64 the number of predictions; `ece` the gap between predicted and observed
    success, weighted by count; `brier` the mean squared error of the single predictions. All but count are float64.
    """

    predicted: Tensor
    observed: Tensor
    low: Tensor
    high: Tensor
    count: Tensor
    ece: float
    brier: float


def reliability(
    probability: Tensor, target: Tensor, bins: int, binning: Binning = "width", level: float = 0.95
) -> Reliability:
    """Return predicted and observed success by bins of the prediction.

    With bins of equal count, equal predictions are never parted, so that the order of rows does not matter. Without
    predictions `ece` and `brier` are 0.

    Args:
        probability: of success, [R] in [0, 1].
        target: answers, [R]; 0.5 and above counts as success.
        bins: number of bins, from 1 on.
        binning: equal width or equal count.
        level: of the intervals.

    Raises:
        SettingError: `bins` is below 1, or there is no such binning.

    >>> result = reliability(torch.tensor([0.1, 0.3, 0.9, 0.7]), torch.tensor([0.0, 0.0, 1.0, 0.0]), bins=2)
    >>> [round(x, 3) for x in result.predicted.tolist()], result.observed.tolist(), result.count.tolist()
    ([0.2, 0.8], [0.0, 0.5], [2, 2])
    >>> round(result.ece, 3), round(result.brier, 3)
    (0.25, 0.15)
    """
    checked("bins", bins, 1)
    probability, success = probability.double(), (target >= 0.5).double()
    place = _bins_of(probability, bins, binning)
    count = torch.bincount(place, minlength=bins)
    used = count > 0
    count, rows = count[used], max(len(place), 1)
    predicted = torch.bincount(place, probability, minlength=bins)[used] / count
    successes = torch.bincount(place, success, minlength=bins)[used]
    observed = successes / count
    low, high = wilson_interval(successes, count, level)
    return Reliability(
        predicted,
        observed,
        low,
        high,
        count,
        ece=float(((predicted - observed).abs() * count).sum() / rows),
        brier=float((probability - success).square().sum() / rows),
    )


def wilson_interval(successes: Tensor, count: Tensor, level: float = 0.95) -> tuple[Tensor, Tensor]:
    """Return Wilson's score interval of a share (Wilson 1927), low and high, both shaped as the arguments.

    Args:
        successes: number of successes.
        count: number of trials, from 1 on.
        level: share of such intervals that hold the true share, in (0, 1).

    >>> low, high = wilson_interval(torch.tensor([0.0, 5.0]), torch.tensor([10, 10]))
    >>> [round(x, 3) for x in low.tolist()], [round(x, 3) for x in high.tolist()]
    ([0.0, 0.237], [0.278, 0.763])
    """
    z = math.sqrt(2) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64)))
    successes, count = successes.double(), count.double()
    share = successes / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)).sqrt()
    return (middle - half).clamp_min(0).minimum(share), (middle + half).clamp_max(1).maximum(share)


def _bins_of(probability: Tensor, bins: int, binning: Binning) -> Tensor:
    match binning:
        case "width":
            return (probability * bins).long().clamp(0, bins - 1)
        case "count":
            lower = torch.searchsorted(probability.sort().values, probability)
            return lower * bins // max(len(probability), 1)
        case _:
            raise SettingError("binning", binning, "width or count")
