"""How answers on one concept go with answers on another."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.types import PAD, Interactions


def answer_correlation(log: Interactions, num_concepts: int) -> Tensor:
    """Return the correlation over learners of how well they answer on two concepts, [N, N] in [-1, 1].

    How well is the mean of y - (share of right answers on the concept) over a learner's answers on the concept, less
    that over all their answers; the correlation of Pearson over those who answered on both. 0 where that is undefined.

    Args:
        log: answer logs of training learners.
        num_concepts: N.

    >>> log = [[(0, 1), (1, 1), (2, 0)], [(0, 0), (1, 0), (2, 1)], [(0, 1), (1, 1), (2, 0)], [(0, 0), (1, 0), (2, 1)]]
    >>> answer_correlation(Interactions.from_lists(log), 3)[0]
    tensor([ 1.,  1., -1.])
    """
    real = log.concept != PAD
    answer, slot = real.nonzero(as_tuple=True)
    concept, learner = log.concept[answer, slot].long(), log.owner[answer]
    correct = log.correct[answer].double()
    times = torch.bincount(concept, minlength=num_concepts).clamp_min(1)
    rate = torch.bincount(concept, weights=correct, minlength=num_concepts) / times
    residual, cell = correct - rate[concept], learner * num_concepts + concept
    size = log.num_learners * num_concepts
    count = torch.bincount(cell, minlength=size).view(-1, num_concepts)
    total = torch.bincount(cell, weights=residual, minlength=size).view(-1, num_concepts)
    overall = total.sum(1, keepdim=True) / count.sum(1, keepdim=True).clamp_min(1)
    there = (count > 0).double()
    value = (total / count.clamp_min(1) - overall) * there
    both = (there.T @ there).clamp_min(1)
    mean = value.T @ there / both  # of the row's concept, over those who answered on the column's too
    square = value.square().T @ there / both - mean.square()
    covariance = value.T @ value / both - mean * mean.T
    scale = (square.clamp_min(0) * square.T.clamp_min(0)).sqrt()
    return torch.where(scale > 1e-12, covariance / scale.clamp_min(1e-12), 0.0).clamp(-1, 1).float()
