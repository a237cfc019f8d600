"""In which order learners meet the concepts of a course."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lpr_lightning.types import PAD, Interactions

LEARNERS = 256
"""Learners whose pairs of concepts are compared at a time."""


class CourseOrder(NamedTuple):
    """In which order learners meet concepts.

    `before` [N, N]: of the learners who met both c (row) and j (column), the share who met j in an earlier answer, 0
    without any; `both` [N, N] their number; `place` [N]: that of `course_places`.
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
    (tensor([0.6667, 0.0000, 0.0000]), tensor([ 0.1667,  0.3889, -1.0000]))
    """
    first = first_meetings(log, num_concepts)
    met = first.isfinite()
    earlier, both = torch.zeros(2, num_concepts, num_concepts, dtype=torch.float64).unbind(0)
    for one, there in zip(torch.split(first, LEARNERS), torch.split(met, LEARNERS), strict=True):
        earlier += ((one[:, None, :] < one[:, :, None]) & there[:, :, None]).sum(0)
        both += there.double().T @ there.double()
    return CourseOrder((earlier / both.clamp_min(1)).float(), both.long(), course_places(log, num_concepts))


def course_places(log: Interactions, num_concepts: int) -> Tensor:
    """Return the place of each concept in the course, [N] in [0, 1]; -1 where nobody met it.

    It is the mean, over the learners who met it, of the share of their log that lay before.

    >>> course_places(Interactions.from_lists([[(0, 1), (1, 1)], [(1, 1), (0, 1), (0, 1), (1, 1)]]), 3)
    tensor([ 0.1250,  0.2500, -1.0000])
    """
    learner = log.owner
    before = (torch.arange(len(log), device=learner.device) - log.offsets[learner]) / log.lengths[learner]
    used = log.concept != PAD
    key, order = (learner[:, None] * num_concepts + log.concept)[used].sort(stable=True)
    first = torch.ones_like(key, dtype=torch.bool)
    first[1:] = key[1:] != key[:-1]
    share = before[:, None].expand_as(used)[used][order][first].double()
    concept = key[first] % num_concepts
    met = torch.bincount(concept, minlength=num_concepts)
    mean = torch.bincount(concept, weights=share, minlength=num_concepts) / met.clamp_min(1)
    return torch.where(met > 0, mean, -1.0).float()


def first_meetings(log: Interactions, num_concepts: int) -> Tensor:
    """Return the number of answers before each learner's first one on each concept, infinity without any, [B, N].

    >>> first_meetings(Interactions.from_lists([[(2, 1), (2, 0), (0, 1)]]), 3)
    tensor([[2., inf, 0.]])
    """
    learner = log.owner
    step = (torch.arange(len(log)) - log.offsets[learner]).float()
    real = log.concept != PAD
    key = (learner[:, None] * num_concepts + log.concept)[real]
    first = torch.full((log.num_learners * num_concepts,), torch.inf)
    first.scatter_reduce_(0, key, step[:, None].expand_as(real)[real], "amin")
    return first.view(-1, num_concepts)
