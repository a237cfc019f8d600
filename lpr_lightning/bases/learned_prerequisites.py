"""Prerequisites learned from the logs of training learners, the penalty chosen by validation learners."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked, checked_share
from lpr_lightning.functional.course_order import CourseOrder, course_order
from lpr_lightning.functional.soft_prerequisites import candidate_prerequisites
from lpr_lightning.functional.zpd import concept_difficulty
from lpr_lightning.nets.soft_prerequisites import SMOOTHING, SoftPrerequisitesNet
from lpr_lightning.protocols import LearnerData, Tracer

PENALTIES = (3e-5, 1e-4, 3e-4, 1e-3)
"""Weights of the sum of all strengths that are tried."""
SHARE, LEARNERS = 0.6, 10
"""A candidate is met first by more than this share of at least this many learners."""
THRESHOLD = 0.3
"""An edge is a strength above it."""


def _quiet(message: str) -> None:
    return None


@dataclass(frozen=True)
class LearnedPrerequisites:
    """How likely each concept needs each other one, learned from answers alone.

    Candidates come from the order in which learners meet concepts; a gate of `SoftPrerequisitesNet` says which of them
    explain why practice taught less, by a tracer's levels of that time. Ours. Edges form no cycle.

    `strength` [N, N] in [0, 1], row c needs column j; `candidate` [N, N] bool; `order` of the course; `losses` of
    validation learners by penalty, infinity for none but the strength 0; `penalty` the one chosen: the largest whose
    loss is within one standard error, paired by learner, of the best (the rule of Breiman et al. 1984, CART).
    """

    strength: Tensor
    candidate: Tensor
    order: CourseOrder
    losses: dict[float, float]
    penalty: float

    @classmethod
    def of(
        cls,
        data: LearnerData,
        tracer: Tracer,
        penalties: Sequence[float] = PENALTIES,
        share: float = SHARE,
        told: Callable[[str], None] = _quiet,
    ) -> LearnedPrerequisites:
        """Learn the prerequisites of data.

        Args:
            data: whose training and validation learners are read.
            tracer: says what learners know at each time; trained on the same training learners without prerequisites,
                a `StateSpaceGrowth` best. Levels are the logits of its mastery.
            penalties: lambda, weights of the sum of all strengths; validation learners choose, one alone is taken.
            share: of the learners who met both concepts, who must have met the prerequisite first.
            told: hears how far the fit is.

        Raises:
            SettingError: an argument is out of its range, or the tracer is of other concepts.
        """
        count = data.num_concepts
        if not penalties:
            raise SettingError("penalties", penalties, "one weight or more")
        for penalty in penalties:
            checked("penalties", penalty, 0.0)
        checked_share("share", share)
        if tracer.num_concepts != count:
            raise SettingError("tracer", tracer.num_concepts, f"a tracer of {count} concepts, as in the data")
        train, val = data.interactions("train"), data.interactions("val")
        order = course_order(train, count)
        candidate = candidate_prerequisites(order, share, LEARNERS)
        rate = (1 - concept_difficulty(train, count, SMOOTHING)).clamp(0.02, 0.98)
        start = SoftPrerequisitesNet(candidate, rate)
        known, unseen = start.read(train, tracer, told), start.read(val, tracer, told)
        start.fit_factors(known)
        learner = val.owner
        strengths = {math.inf: torch.zeros(count, count)}
        losses = {math.inf: start.losses(unseen.mastered())}
        for penalty in penalties if candidate.any() else ():
            net = copy.deepcopy(start)
            net.fit_edges(known, unseen, penalty, told)
            strengths[penalty], losses[penalty] = net.strengths(), net.losses(unseen)
        chosen = largest_within_error(losses, learner) if len(penalties) > 1 else min(losses)
        means = {penalty: float(loss.mean()) for penalty, loss in losses.items()}
        return cls(strengths[chosen], candidate, order, means, chosen)

    def edges(self, threshold: float = THRESHOLD) -> list[tuple[int, int, float]]:
        """Return edges (needed, needing, strength) above a threshold, the strongest first."""
        checked_share("threshold", threshold)
        found = [(int(j), int(c), float(self.strength[c, j])) for c, j in (self.strength > threshold).nonzero()]
        return sorted(found, key=lambda edge: (-edge[2], edge[0], edge[1]))


def largest_within_error(losses: Mapping[float, Tensor], learner: Tensor) -> float:
    """Return the largest penalty whose mean loss is within one standard error of the best.

    The error is that of the difference from the best, of the mean over all answers, learners being independent.

    Args:
        losses: of each answer, [A], by penalty.
        learner: the number of each answer's learner, [A].

    >>> losses = {0.1: torch.tensor([1.0, 1.0]), 1.0: torch.tensor([0.9, 1.2]), 2.0: torch.tensor([2.0, 2.1])}
    >>> largest_within_error(losses, torch.tensor([0, 1]))
    1.0
    """
    best = losses[min(losses, key=lambda penalty: float(losses[penalty].mean()))]
    within = []
    for penalty, loss in losses.items():
        over = (loss - best).double()
        size = int(learner.max()) + 1 if len(learner) else 1
        each = torch.zeros(size, dtype=torch.float64).index_add(0, learner, over - over.mean())
        error = float(each.square().sum().sqrt()) / max(len(loss), 1)
        if float(over.mean()) <= error:
            within.append(penalty)
    return max(within)
