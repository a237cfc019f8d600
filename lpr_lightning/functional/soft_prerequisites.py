"""Prerequisites of which it is not known whether they hold: candidates by order, a gate of uncertain edges, sums."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.types import PAD, Interactions

LEARNERS = 256
"""Learners whose pairs of concepts are compared at a time."""


class CourseOrder(NamedTuple):
    """In which order learners meet concepts.

    `before` [N, N]: of the learners who met both c (row) and j (column), the share who met j in an earlier answer, 0
    without any; `both` [N, N] their number; `place` [N]: the mean share of a log that lay before the first answer on a
    concept, 1 where nobody met it.
    """

    before: Tensor
    both: Tensor
    place: Tensor


def course_order(log: Interactions, num_concepts: int) -> CourseOrder:
    """Return in which order the learners of a log first meet its concepts.

    Args:
        log: answer logs of training learners.
        num_concepts: N.

    >>> order = course_order(Interactions.from_lists([[(0, 1), (1, 1)], [(0, 1), (0, 0), (1, 1)], [(1, 0), (0, 1)]]), 3)
    >>> order.before[1], order.place
    (tensor([0.6667, 0.0000, 0.0000]), tensor([0.1667, 0.3889, 1.0000]))
    """
    first = first_answers(log, num_concepts)
    met = first.isfinite()
    earlier, both = torch.zeros(2, num_concepts, num_concepts, dtype=torch.float64).unbind(0)
    for one, there in zip(torch.split(first, LEARNERS), torch.split(met, LEARNERS), strict=True):
        earlier += ((one[:, None, :] < one[:, :, None]) & there[:, :, None]).sum(0)
        both += there.double().T @ there.double()
    share = torch.where(met, first / log.lengths.clamp_min(1)[:, None], 0.0).double().sum(0)
    times = met.sum(0)
    place = torch.where(times > 0, share / times.clamp_min(1), 1.0)
    return CourseOrder((earlier / both.clamp_min(1)).float(), both.long(), place.float())


def first_answers(log: Interactions, num_concepts: int) -> Tensor:
    """Return the number of answers before each learner's first one on each concept, infinity without any, [B, N].

    >>> first_answers(Interactions.from_lists([[(2, 1), (2, 0), (0, 1)]]), 3)
    tensor([[2., inf, 0.]])
    """
    learner = learner_of(log)
    step = (torch.arange(len(log)) - log.offsets[learner]).float()
    real = log.concept != PAD
    key = (learner[:, None] * num_concepts + log.concept)[real]
    first = torch.full((log.num_learners * num_concepts,), torch.inf)
    first.scatter_reduce_(0, key, step[:, None].expand_as(real)[real], "amin")
    return first.view(-1, num_concepts)


def learner_of(log: Interactions) -> Tensor:
    """Return the number of each answer's learner within the log, [A] int64."""
    return torch.arange(log.num_learners).repeat_interleave(log.lengths)


def candidate_prerequisites(order: CourseOrder, share: float = 0.6, learners: int = 1) -> Tensor:
    """Return True where concept j (column) may be a prerequisite of concept c (row), [N, N] bool.

    More than `share` of at least `learners` learners who met both met j before c, and j lies earlier in the course, so
    that no candidates form a cycle.

    >>> order = course_order(Interactions.from_lists([[(0, 1), (1, 1)], [(1, 1), (0, 1)], [(0, 0), (1, 0)]]), 2)
    >>> candidate_prerequisites(order).tolist()
    [[False, False], [True, False]]
    """
    earlier = order.place[None, :] < order.place[:, None]
    return (order.before > share) & (order.both >= max(learners, 1)) & earlier


def soft_gate(level: Tensor, strength: Tensor, weight: Tensor) -> Tensor:
    """Return how far uncertain prerequisites let growth through, [...] in (0, 1].

    prod over j of (1 - A_j (1 - sigmoid(softplus(k1) (level_j + k2)))): an edge of strength 0 lets everything through,
    one of strength 1 as much as its prerequisite holds.

    Differs from `learning_gain.prerequisite_gate`: a product, which every edge has a gradient through, not the minimum.

    Args:
        level: of the prerequisites, [..., K] in logits.
        strength: A, [..., K] in [0, 1]; 0 where unused.
        weight: k1 and k2, [2].

    >>> soft_gate(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.5]]), torch.tensor([1.0, 0.0]))  # .5 * .75
    tensor([0.3750])
    """
    missing = torch.sigmoid(-F.softplus(weight[0]) * (level + weight[1]))
    return (1 - strength * missing).prod(-1)


class Earlier:
    """Sums over earlier entries of the same group, of entries in order of time.

    Args:
        group: of each entry, [E] int64.

    >>> Earlier(torch.tensor([7, 3, 7, 7])).sums(torch.tensor([1.0, 2.0, 4.0, 8.0]))
    tensor([0., 0., 1., 5.])
    """

    def __init__(self, group: Tensor) -> None:
        ordered, self.order = group.sort(stable=True)
        self.back = self.order.argsort()
        begins = torch.ones_like(ordered, dtype=torch.bool)
        begins[1:] = ordered[1:] != ordered[:-1]
        place = torch.arange(len(ordered))
        self.start = torch.where(begins, place, 0).cummax(0).values

    def sums(self, value: Tensor) -> Tensor:
        """Return the sum [E] of `value` [E] over the earlier entries of each one's group."""
        if not len(value):
            return value
        ordered = value.index_select(0, self.order).double()  # of thousands of entries, whose differences count
        before = ordered.cumsum(0) - ordered
        return (before - before.index_select(0, self.start)).index_select(0, self.back).to(value)
