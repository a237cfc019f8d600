"""A graph of concept relations: from the answers of training learners, and what keeps it one of prerequisites."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.functional.answer_correlation import answer_correlation
from lpr_lightning.functional.course_order import course_order
from lpr_lightning.functional.soft_prerequisites import candidate_prerequisites
from lpr_lightning.types import Interactions

LEARNERS = 10
"""A pair of concepts counts where at least so many learners met both."""


def relation_weights(log: Interactions, num_concepts: int, share: float = 0.6) -> Tensor:
    """Return how strongly each concept seems to build on each other one, [N, N] in [0, 1], row c on column j.

    It is the correlation of how well learners answer on both (`answer_correlation`), where it is above 0 and most
    learners met j first (`candidate_prerequisites`). No true prerequisites: a stand-in for them, of no cost.

    Args:
        log: answer logs of training learners.
        num_concepts: N.
        share: of the learners who met both, who must have met j first.

    >>> log = [[(0, 1), (1, 1), (2, 0)], [(0, 0), (1, 0), (2, 1)]] * 5
    >>> relation_weights(Interactions.from_lists(log), 3)
    tensor([[0., 0., 0.],
            [1., 0., 0.],
            [0., 0., 0.]])
    """
    candidate = candidate_prerequisites(course_order(log, num_concepts), share, LEARNERS)
    return answer_correlation(log, num_concepts).clamp_min(0) * candidate


def strongest(weight: Tensor, count: int) -> Tensor:
    """Return the weights [N, N] with at most `count` relations of each row: the strongest, of equal ones the first.

    >>> strongest(torch.tensor([[0.0, 0.2, 0.9], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]), 1)
    tensor([[0.0000, 0.0000, 0.9000],
            [0.5000, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    place = weight.argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(weight).scatter(1, place, weight.gather(1, place))


def without_two_cycles(weight: Tensor) -> Tensor:
    """Return the weights [N, N] without relations to itself, and of two concepts that build on each other the stronger.

    Of two equally strong ones that of the later concept on the earlier one stays.

    >>> without_two_cycles(torch.tensor([[0.9, 0.6], [0.7, 0.0]]))
    tensor([[0.0000, 0.0000],
            [0.7000, 0.0000]])
    """
    later = torch.ones_like(weight, dtype=torch.bool).tril(-1)
    keep = (weight > weight.T) | ((weight == weight.T) & later)
    return weight * keep
