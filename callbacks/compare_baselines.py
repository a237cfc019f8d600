"""Other policies on the same requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lpr_lightning.bases.agent import EVALUATION_SEED, Agent
from lpr_lightning.bases.staged import datamodule_of
from lpr_lightning.callbacks.evaluation import RolloutCallback, Stage
from lpr_lightning.callbacks.module_parts import episodes_of, objectives_of
from lpr_lightning.callbacks.policy_tallies import Tally, TruthTally
from lpr_lightning.callbacks.true_effect import needed_request, taught_in_truth, true_learners
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import Exam, SoftExam
from lpr_lightning.policies import (
    BeamSearch,
    ChainSearch,
    DKTRec,
    NearestTarget,
    Oracle,
    PrerequisiteRule,
    RandomPaths,
    RandomTargets,
    Search,
    TargetsInTurn,
)
from lpr_lightning.protocols import Act, Connected, Environment, GivenOthers, LearnerData, Policy
from lpr_lightning.simulators.rollout import request_draws
from lpr_lightning.simulators.rollout import rollout as teach
from lpr_lightning.types import PathRequest, Rollout, State

OWN_FIGURES = ("learning_effect_soft", "learning_effect_hard", "on_target", "first_step_share")
"""What is logged of a module that reports no figures of its own."""


class CompareBaselines(RolloutCallback):
    """Lets other policies teach the learners of the same requests, and logs `test/<name>/learning_effect` and more.

    Each policy teaches the learners of `pl_module.simulator` towards `pl_module.goal`, seeing the answers that they
    give. The figures are those of `RolloutMetrics` and the means of the module's objectives. Random answers depend on
    the request alone, not on batches or processes. Steps must return `"request"` beside `"rollout"`. Policies that need
    more of the data, such as its prerequisites, are connected to it when a run starts.

    Where the datamodule has learners of known truth (`trainer.datamodule.truth`), each policy teaches these too,
    looking into the module's simulator, and `test/<name>/true_learning_effect` is logged with its interval, `…_soft`
    and `…_hard` beside it. How far the module is over a policy, learner by learner, is `test/<name>/true_over`, its
    standard error `true_over_error`. The oracle alone looks into the truth, and at the prerequisites that hold there
    where the data were given others: `test/oracle/true_learning_effect` is the best found, no bound, and what share of
    it others reach is `true_share_of_oracle`, the module's under `test/`.

    Args:
        policies: policies to compare with; default those of `default_policies`.
        stages: evaluation stages to compare in.
        objectives: names of the module's objectives whose means are logged; default all.
        true_exam: how true mastery is marked; default `SoftExam`.
        oracle: what plans with access to the truth; default `Oracle`.
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
        oracle: Search | None = None,
        every_n_epochs: int = 1,
    ) -> None:
        super().__init__(stages, every_n_epochs)
        self.policies: list[Policy] = default_policies() if policies is None else list(policies)
        self.oracle: Search = oracle or Oracle()
        for policy in self.policies:
            if not isinstance(policy, Policy):
                raise SettingError("policies", type(policy).__name__, "objects with name, begin, act and see")
        names = [policy.name for policy in (*self.policies, self.oracle)]
        if len(set(names)) < len(names) or any("/" in name for name in names):
            raise SettingError("policies", names, "policies with different names, without a slash")
        self.objectives = objectives
        self.true_exam = true_exam or SoftExam()
        self._tallies: dict[str, Tally] = {}
        self._truth: TruthTally | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module has what is needed, and connect the policies to the data."""
        if stage == "predict":
            return
        episodes_of(pl_module, type(self).__name__)
        there = list(objectives_of(pl_module))
        for name in self.objectives or ():
            if name not in there:
                raise SettingError("objectives", name, f"one of {', '.join(there) or 'none: the module has none'}")
        connect_policies(self.policies, trainer)
        connect_policies([self.oracle], trainer, in_truth=True)

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start from nothing."""
        names = list(objectives_of(pl_module)) if self.objectives is None else self.objectives
        self._tallies = {policy.name: Tally(names, pl_module.device) for policy in self.policies}
        if not isinstance(pl_module, Agent):  # which reports its own
            self._tallies[""] = Tally([], pl_module.device)
        learners = true_learners(trainer, pl_module)
        if learners is not None:
            others = [*self.policies, self.oracle]
            self._truth = TruthTally(learners, self.true_exam, [one.name for one in others], pl_module.device)

    def take(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, rollout: Rollout, request: PathRequest | None
    ) -> None:
        """Let every policy teach the learners of a batch."""
        episodes = episodes_of(pl_module, type(self).__name__)
        request = needed_request(request, type(self).__name__)
        model, goal, early_stop = episodes.simulator, episodes.goal, episodes.early_stop
        draws = request_draws(EVALUATION_SEED, 0, request)
        truth = self._truth
        if "" in self._tallies:
            self._tallies[""].update(rollout, pl_module)
        if truth is not None:
            truth.own(taught_in_truth(pl_module, truth.learners, request, rollout), len(request))
        for policy in self.policies:
            begun = Begun.of(policy, Environment(model, goal), request)
            taught = teach(model, goal, request, begun, draws, early_stop=early_stop)
            self._tallies[policy.name].update(taught, pl_module)
            if truth is not None:
                taught = teach(truth.learners, goal, request, begun, draws, early_stop=early_stop, model=model)
                truth.other(policy.name, taught)
        if truth is not None:
            taught = teach(truth.learners, goal, request, self.oracle, draws, early_stop=early_stop)
            truth.other(self.oracle.name, taught)

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the figures of all ranks, and forget the learners."""
        found = {name: tally.compute() for name, tally in self._tallies.items()}
        if "" in found:
            found[""] = {key: found[""][key] for key in OWN_FIGURES}
        if self._truth is not None:
            for name, figures in self._truth.compute(self.oracle.name).items():
                found[name] = found.get(name, {}) | figures
        for name, figures in found.items():
            prefix = f"{stage}/{name}/" if name else f"{stage}/"
            pl_module.log_dict({prefix + key: value for key, value in figures.items()}, sync_dist=True)
        self._tallies, self._truth = {}, None


def default_policies() -> list[Policy]:
    """Return what every report compares with: plain policies, simple rules, and a search in the simulator.

    >>> [policy.name for policy in default_policies()][4:]
    ['prerequisite_rule', 'dktrec', 'search', 'chain_search']
    """
    rules: list[Policy] = [RandomPaths(), RandomTargets(), TargetsInTurn(), NearestTarget(), PrerequisiteRule()]
    return [*rules, DKTRec(), BeamSearch(), ChainSearch()]


def connect_policies(policies: Sequence[Policy], trainer: Trainer, in_truth: bool = False) -> None:
    """Let policies that need more of the trainer's data take it; `in_truth` with the prerequisites of its source."""
    data = datamodule_of(trainer)
    if in_truth and isinstance(data, GivenOthers):
        data = data.with_own_prerequisites()
    for policy in policies:
        if isinstance(policy, Connected) and isinstance(data, LearnerData):
            policy.connect(data)


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
