"""What paths that were planned in one simulator bring in another."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.functional.learning_effect import learning_effect, learning_effect_defined
from lpr_lightning.protocols import Goal, Policy, Simulator
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import PathRequest


def judged_effect(
    judge: Simulator,
    goal: Goal,
    request: PathRequest,
    policy: Policy,
    model: Simulator | None = None,
    draws: Draws | None = None,
    episodes: int = 1,
) -> Tensor:
    """Return the learning effect of a policy on the learners of `judge`, [B]; NaN where nothing is left to learn.

    The policy looks into `model` and sees the answers of `judge`, which alone says what was learned: the exam is taken
    in `judge`.

    Args:
        judge: the learners.
        goal: what paths are for, and the exam.
        request: histories, targets and wanted lengths, B of them.
        policy: what recommends.
        model: what it may look into; default `judge`.
        draws: random numbers of the requests, for answers that are drawn.
        episodes: of each request, whose mean is taken.

    >>> from lpr_lightning.goals import SoftExam, Targets
    >>> from lpr_lightning.policies import TargetsInTurn
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(2, gain=0.4)
    >>> request = ladder.request(targets=[[0, 1]], length=1)
    >>> judged_effect(ladder, Targets(SoftExam()), request, TargetsInTurn())
    tensor([0.2000])
    """
    taught = rollout(judge, goal, request, policy, draws, episodes, model=model, report_mastery=False)
    effect = learning_effect(taught.score_before, taught.score_after, taught.score_max)
    defined = learning_effect_defined(taught.score_before, taught.score_max)
    return torch.where(defined, effect, torch.nan).view(-1, episodes).nanmean(1)
