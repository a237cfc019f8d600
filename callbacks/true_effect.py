"""What is learned by learners of known truth."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from lpr_lightning.bases.agent import EVALUATION_SEED, Agent
from lpr_lightning.bases.staged import datamodule_of
from lpr_lightning.callbacks.evaluation import RolloutCallback, Stage
from lpr_lightning.callbacks.module_parts import has_episodes
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import Exam, SoftExam, Targets
from lpr_lightning.metrics import RolloutMetrics
from lpr_lightning.policies import follow_paths
from lpr_lightning.protocols import Actions, Policy, Simulator
from lpr_lightning.simulators.rollout import request_draws
from lpr_lightning.simulators.rollout import rollout as teach
from lpr_lightning.types import PathRequest, Rollout

TRUE_FIGURES = tuple(f"learning_effect{which}" for which in ("", "_low", "_high", "_soft", "_hard"))


@runtime_checkable
class HasTruth(Protocol):
    """A datamodule whose learners may be of known truth."""

    @property
    def truth(self) -> Simulator | None:
        """The learners themselves; None where nobody knows."""
        ...


class TrueEffect(RolloutCallback):
    """Lets the module teach learners of known truth, and logs `test/true_learning_effect` with its interval.

    Beside it stand `true_learning_effect_soft` and `…_hard`, the same under both marks whatever the exam.

    A policy is trained and judged on a simulator fitted to logs; where the logs come from learners of known truth
    (`trainer.datamodule.truth`), this says what they would have learned in truth. A module that is a
    `protocols.Policy` teaches them closed loop: it sees their answers, and looks into its own simulator. Of any other
    module they follow the paths, whatever they answer. The goal is the module's; only the marks are of `true_exam`.
    Without such learners nothing is logged. Steps must return `"request"` beside `"rollout"`.

    Args:
        true_exam: how true mastery is marked; default `SoftExam`.
        stages: evaluation stages to look at.
        every_n_epochs: while fitting, look only at every n-th epoch.

    Raises:
        SettingError: an argument is out of its range, or a step returns no request.
    """

    def __init__(
        self, true_exam: Exam | None = None, stages: Sequence[Stage] = ("test",), every_n_epochs: int = 1
    ) -> None:
        super().__init__(stages, every_n_epochs)
        self.true_exam = true_exam or SoftExam()
        self._learners: Simulator | None = None
        self._figures = TrueFigures(self.true_exam)

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start from nothing."""
        self._learners = true_learners(trainer, pl_module)
        self._figures = TrueFigures(self.true_exam, pl_module.device)

    def take(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, rollout: Rollout, request: PathRequest | None
    ) -> None:
        """Teach the true learners of a batch."""
        if self._learners is not None:
            request = needed_request(request, type(self).__name__)
            self._figures.update(taught_in_truth(pl_module, self._learners, request, rollout))

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the figures of all ranks."""
        if self._learners is not None:
            figures = self._figures.compute()
            pl_module.log_dict({f"{stage}/{key}": value for key, value in figures.items()}, sync_dist=True)
        self._learners = None


class TrueFigures:
    """The learning effect of rollouts of true learners, marked by an exam; its figures begin with `true_`."""

    def __init__(self, exam: Exam, device: torch.device | str = "cpu") -> None:
        self.exam = exam
        self._metrics = RolloutMetrics().to(device)

    def update(self, taught: Rollout) -> None:
        """Add one batch."""
        self._metrics.update(marked(taught, self.exam))

    def compute(self) -> dict[str, Tensor]:
        """Return `true_learning_effect`, its interval, and both marks, over all ranks; every rank must call it."""
        figures = self._metrics.compute()
        return {f"true_{name}": figures[name] for name in TRUE_FIGURES}


class Asked:
    """Learners who are asked the actions of another simulator, so that both number concepts or questions alike."""

    def __init__(self, learners: Simulator, actions: Actions) -> None:
        self.num_concepts, self.actions = learners.num_concepts, actions
        self.start, self.predict, self.respond = learners.start, learners.predict, learners.respond
        self.practise, self.observe, self.mastery = learners.practise, learners.observe, learners.mastery


def true_learners(trainer: Trainer, pl_module: LightningModule) -> Simulator | None:
    """Return a copy of the datamodule's true learners on the module's device; None where the truth is not known."""
    data = datamodule_of(trainer)
    truth = copy.deepcopy(data.truth) if isinstance(data, HasTruth) else None
    if isinstance(truth, nn.Module):
        truth.to(pl_module.device)
    if truth is not None and has_episodes(pl_module):
        return Asked(truth, pl_module.simulator.actions)
    return truth


def taught_in_truth(pl_module: LightningModule, learners: Simulator, request: PathRequest, rollout: Rollout) -> Rollout:
    """Return how true learners fare with a module that taught `rollout` to its own learners."""
    draws = request_draws(EVALUATION_SEED, 0, request)
    goal = pl_module.goal if has_episodes(pl_module) else Targets()
    if not has_episodes(pl_module) or not isinstance(pl_module, Policy):
        return follow_paths(learners, goal, request, rollout.action, draws, rollout.group_size)
    horizon = pl_module.horizon if isinstance(pl_module, Agent) else None
    early_stop, model = pl_module.early_stop, pl_module.simulator
    return teach(learners, goal, request, pl_module, draws, horizon=horizon, early_stop=early_stop, model=model)


def marked(taught: Rollout, exam: Exam) -> Rollout:
    """Return a rollout with the scores that another exam gives.

    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder, path = Ladder(2, gain=0.4), torch.tensor([[0]])
    >>> taught = follow_paths(ladder, Targets(), ladder.request(targets=[[0, 1]], length=1), path)
    >>> taught.score_after, marked(taught, SoftExam()).score_after
    (tensor([0.]), tensor([0.4000]))
    """
    before, after = (
        (exam.passed(mastery) * taught.targets).sum(1) for mastery in (taught.mastery_before, taught.mastery_after)
    )
    return replace(taught, score_before=before, score_after=after)


def needed_request(request: PathRequest | None, callback: str) -> PathRequest:
    """Return the request, or raise where the step gave none."""
    if request is None:
        advice = f'Return it from the step beside "rollout", or leave {callback} out'
        raise SettingError('outputs["request"]', None, "a lpr_lightning.types.PathRequest", advice)
    return request
