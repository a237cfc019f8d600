"""A method of somebody else's: a bandit over actions that learns how much targets are worth, by REINFORCE."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lpr_lightning.bases.agent import Agent
from lpr_lightning.bases.staged import Stage, run_seed
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import soft_gain
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import arguments, built
from lpr_lightning.objectives import Objective
from lpr_lightning.protocols import Act, Environment, Simulator
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.types import PathRequest, State


class TargetBandit(Agent):
    """Chooses actions by a learned ease and a learned preference for those on the goal's concepts."""

    def __init__(
        self,
        num_concepts: int | None = None,
        simulator: Simulator | None = None,
        goal: ConceptGoal | None = None,
        objectives: Sequence[Objective] = (),
        learning_rate: float = 0.1,
    ) -> None:
        settings = arguments(locals())
        chosen = built(simulator, KESSimulator)
        if chosen is None:
            raise SettingError("simulator", None, "a KESSimulator")
        super().__init__(num_concepts, chosen, goal, objectives)
        self.save_hyperparameters(settings)
        self.ease, self.wish = nn.Parameter(torch.zeros(len(chosen.actions))), nn.Parameter(torch.zeros(()))
        self.learning_rate = learning_rate

    def stages(self) -> Sequence[Stage]:
        return [Stage("REINFORCE", self.improve)]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([self.ease, self.wish], self.learning_rate)

    def improve(self, request: PathRequest, batch_idx: int) -> Tensor:
        draws = request_draws(run_seed(), self.global_step, request)
        taught = rollout(self.simulator, self.goal, request, self, draws, group_size=4, sample=True)
        gain = soft_gain(taught.mastery_before, taught.mastery_after, taught.targets).view(len(request), 4)
        concept = self.goal.choose(self.simulator, self.simulator.start(request), request).repeat_interleave(4, 0)
        chosen = self.logits(concept).log_softmax(1).gather(1, taught.action.clamp_min(0)) * taught.mask
        loss = -((gain - gain.mean(1, keepdim=True)).flatten() * chosen.sum(1)).mean()
        self.log("train/loss", loss, batch_size=len(request))
        return loss

    def begin(self, environment: Environment, request: PathRequest) -> State:
        return ()

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        log_prob = self.logits(concept).log_softmax(1)
        action = log_prob.argmax(1) if draws is None else draws.pick(log_prob.exp())
        return Act(action, log_prob.gather(1, action[:, None]).squeeze(1))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        return ()

    def logits(self, concept: Tensor) -> Tensor:
        every = self.simulator.actions.at(torch.arange(len(self.simulator.actions), device=concept.device)).concept
        goal = concept.masked_fill(concept < 0, -2)[:, None, None]
        wanted = (every[None, :, :, None] == goal).any(3).any(2)
        return self.ease + self.wish * wanted
