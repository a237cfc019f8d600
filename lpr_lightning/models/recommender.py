"""Any policy as a module that recommends: rules and searches beside agents that learn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lpr_lightning.bases.agent import Agent
from lpr_lightning.bases.staged import Stage, datamodule_of
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import arguments, built, built_each
from lpr_lightning.objectives import Objective
from lpr_lightning.policies.exact_greedy import ExactGreedy
from lpr_lightning.protocols import Act, Connected, Environment, LearnerData, Policy, Simulator
from lpr_lightning.types import PathRequest, State


class Recommender(Agent):
    """Recommends by a rule or a search: a policy, a model of the learners and a goal in one checkpoint.

    Nothing of its own is trained: a fit fits the simulator's tracer first, then what the goal takes from training
    logs, and keeps both. Validation, test and `predict` are those of agents that learn.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        simulator: what answers as the learner, and what the policy looks into.
        policy: what recommends; default `ExactGreedy`.
        goal: what exercises are for; default the targets of each request.
        objectives: what a path is judged by.
        early_stop: end an episode once its exam is full.

    Raises:
        SettingError: there is no simulator, or it is of other data.
    """

    def __init__(
        self,
        num_concepts: int | None = None,
        simulator: Simulator | None = None,
        policy: Policy | None = None,
        goal: ConceptGoal | None = None,
        objectives: Sequence[Objective] | None = None,
        early_stop: bool = False,
    ) -> None:
        settings = arguments(locals())
        learners = built(simulator, Simulator)
        if learners is None:
            raise SettingError("simulator", None, "a simulator, such as KESSimulator with questions as its actions")
        super().__init__(num_concepts, learners, goal, built_each(objectives, Objective), early_stop)
        self.save_hyperparameters(settings)
        self.policy: Policy = built(policy, Policy) or ExactGreedy()
        self.name = self.policy.name

    def setup(self, stage: str) -> None:
        """Connect actions and policy to the trainer's data."""
        super().setup(stage)
        data = datamodule_of(self.trainer)
        if isinstance(self.policy, Connected) and isinstance(data, LearnerData):
            self.policy.connect(data)

    def stages(self) -> Sequence[Stage]:
        """Return one epoch in which nothing is trained."""
        return [Stage("nothing to train", self.nothing, epochs=1)]

    def nothing(self, request: PathRequest, batch_idx: int) -> None:
        """Train nothing."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return an optimizer of nothing."""
        return torch.optim.SGD([torch.zeros((), requires_grad=True)], 0.0)

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Let the policy begin."""
        return self.policy.begin(environment, request)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Let the policy choose the next action."""
        return self.policy.act(environment, state, concept, draws)

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Let the policy see the answers."""
        return self.policy.see(environment, state, action, correct)
