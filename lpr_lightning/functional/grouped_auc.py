"""Area under the curve of answers pooled over learners, with its interval."""

from __future__ import annotations

import torch
from torch import Tensor


def grouped_auc(
    probability: Tensor, correct: Tensor, group: Tensor, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the exact AUC of all rows and the percentile interval of a bootstrap that draws whole groups.

    Answers of one learner depend on one another: learners are drawn with replacement, each with all its answers. Ties
    count as one half. Resamples in which all answers are alike are left out.

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
    tie, member = (torch.unique(value, return_inverse=True)[1] for value in (probability, group))
    learners = int(member.max()) + 1 if len(member) else 0
    ties, right = int(tie.max()) + 1 if len(tie) else 0, correct >= 0.5
    everyone = _weighted_auc(tie, right, torch.ones(len(tie), dtype=torch.float64, device=tie.device), ties)
    generator = torch.Generator().manual_seed(seed)
    figures = []
    for _ in range(resamples):
        drawn = torch.randint(learners, (learners,), generator=generator)
        weight = drawn.bincount(minlength=learners).to(tie.device, torch.float64)
        figures.append(_weighted_auc(tie, right, weight[member], ties))
    found = torch.tensor([figure for figure in figures if figure == figure], dtype=torch.float64)
    if not len(found):
        return everyone, everyone, everyone
    tail = (1 - level) / 2
    low, high = torch.quantile(found, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return everyone, low, high


def _weighted_auc(tie: Tensor, right: Tensor, weight: Tensor, ties: int) -> float:
    """Return the AUC of weighted rows whose predictions rank as `tie`; not a number where all answers are alike."""
    total = torch.bincount(tie, weight, ties)
    positive = torch.bincount(tie[right], weight[right], ties)
    negative = total - positive
    below = negative.cumsum(0) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))
