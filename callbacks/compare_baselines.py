"""Other policies on the same requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torchmetrics import MeanMetric

from lpr_lightning.bases.agent import EVALUATION_SEED
from lpr_lightning.callbacks.evaluation import RolloutCallback, Stage
from lpr_lightning.callbacks.module_parts import episodes_of, objectives_of
from lpr_lightning.callbacks.true_effect import TrueFigures, needed_request, true_learners
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import Exam, SoftExam
from lpr_lightning.metrics import RolloutMetrics
from lpr_lightning.policies import BeamSearch, DKTRec, RandomPaths, RandomTargets
from lpr_lightning.protocols import Act, Environment, Policy, Simulator
from lpr_lightning.simulators.rollout import request_draws
from lpr_lightning.simulators.rollout import rollout as teach
from lpr_lightning.types import PathRequest, Rollout, State


class CompareBaselines(RolloutCallback):
    """Lets other policies teach the learners of the same requests, and logs `test/<name>/learning_effect` and more.

    Each policy teaches the learners of `pl_module.simulator` towards `pl_module.goal`, seeing the answers that they
    give. The figures are those of `RolloutMetrics` and the means of the module's objectives. Where the datamodule has
    learners of known truth (`trainer.datamodule.truth`), each policy teaches these too, looking into the module's
    simulator, and `test/<name>/true_learning_effect` is logged with its interval. Random answers depend on the request
    alone, not on batches or processes. Steps must return `"request"` beside `"rollout"`.

    Args:
        policies: policies to compare with; default random paths, random targets, DKTRec and beam search, the bound.
        stages: evaluation stages to compare in.
        objectives: names of the module's objectives whose means are logged; default all.
        true_exam: how true mastery is marked; default `SoftExam`.
        every_n_epochs: while fitting, compare only at every n-th epoch.

    Raises:
        SettingError: an argument is out of its range or (when a run starts) the module lacks a simulator, a goal or a
            named objective.
    """

    def __init__(
        self,
        policies: Sequence[Policy] | None = None,
        stages: Sequence[Stage] = ("test",),
        objectives: Sequence[str] | None = None,
        true_exam: Exam | None = None,
        every_n_epochs: int = 1,
    ) -> None:
        super().__init__(stages, every_n_epochs)
        self.policies: list[Policy] = (
            [RandomPaths(), RandomTargets(), DKTRec(), BeamSearch()] if policies is None else list(policies)
        )
        for policy in self.policies:
            if not isinstance(policy, Policy):
                raise SettingError("policies", type(policy).__name__, "objects with name, begin, act and see")
        names = [policy.name for policy in self.policies]
        if len(set(names)) < len(names) or any("/" in name for name in names):
            raise SettingError("policies", names, "policies with different names, without a slash")
        self.objectives = objectives
        self.true_exam = true_exam or SoftExam()
        self._tallies: dict[str, Tally] = {}
        self._learners: Simulator | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module has what is needed."""
        if stage == "predict":
            return
        episodes_of(pl_module, type(self).__name__)
        there = list(objectives_of(pl_module))
        for name in self.objectives or ():
            if name not in there:
                raise SettingError("objectives", name, f"one of {', '.join(there) or 'none: the module has none'}")

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        """Start from nothing."""
        names = list(objectives_of(pl_module)) if self.objectives is None else self.objectives
        self._learners = true_learners(trainer, pl_module)
        self._tallies = {policy.name: Tally(names, self.true_exam, pl_module.device) for policy in self.policies}

    def take(
        self, trainer: Trainer, pl_module: LightningModule, stage: Stage, rollout: Rollout, request: PathRequest | None
    ) -> None:
        """Let every policy teach the learners of a batch."""
        episodes = episodes_of(pl_module, type(self).__name__)
        request = needed_request(request, type(self).__name__)
        model, goal, early_stop = episodes.simulator, episodes.goal, episodes.early_stop
        draws = request_draws(EVALUATION_SEED, 0, request)
        for policy in self.policies:
            tally, begun = self._tallies[policy.name], Begun.of(policy, Environment(model, goal), request)
            tally.update(teach(model, goal, request, begun, draws, early_stop=early_stop), pl_module)
            if self._learners is not None:
                tally.true_figures.update(
                    teach(self._learners, goal, request, begun, draws, early_stop=early_stop, model=model)
                )

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        """Log the figures of all ranks, and forget the learners."""
        for name, tally in self._tallies.items():
            figures = tally.compute()
            if self._learners is not None:
                figures |= tally.true_figures.compute()
            pl_module.log_dict({f"{stage}/{name}/{key}": value for key, value in figures.items()}, sync_dist=True)
        self._tallies, self._learners = {}, None


class Tally:
    """Figures of one policy: `RolloutMetrics`, means of some of the module's objectives, what was learned in truth."""

    def __init__(self, objectives: Sequence[str], true_exam: Exam, device: torch.device) -> None:
        self.true_figures = TrueFigures(true_exam, device)
        self._metrics = RolloutMetrics().to(device)
        self._means = {name: MeanMetric().to(device) for name in objectives}

    def update(self, taught: Rollout, pl_module: LightningModule) -> None:
        """Add one batch."""
        self._metrics.update(taught)
        objectives = objectives_of(pl_module)
        for name, mean in self._means.items():
            mean.update(objectives[name](taught))

    def compute(self) -> dict[str, Tensor]:
        """Return the figures over all ranks; every rank must call it. Those of `RolloutMetrics` come first."""
        figures: dict[str, Tensor] = {name: mean.compute() for name, mean in self._means.items()}
        return figures | self._metrics.compute()


@dataclass
class Begun:
    """A policy that has begun: a search plans once, however many learners then follow its paths."""

    name: str
    policy: Policy
    state: State

    @classmethod
    @torch.no_grad()
    def of(cls, policy: Policy, environment: Environment, request: PathRequest) -> Begun:
        """Let a policy begin."""
        return cls(policy.name, policy, policy.begin(environment, request))

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the state of the beginning."""
        return self.state

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Choose the next action."""
        return self.policy.act(environment, state, concept, draws)

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Return the policy's state after the answers."""
        return self.policy.see(environment, state, action, correct)
