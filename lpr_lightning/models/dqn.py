"""Deep Q-learning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lpr_lightning.bases.off_policy import ReplaySettings
from lpr_lightning.bases.replay import Transitions
from lpr_lightning.bases.step_agent import Candidates, needed_simulator
from lpr_lightning.bases.value_agent import ValueAgent
from lpr_lightning.draws import Draws
from lpr_lightning.functional.q_learning import double_q_target, td_loss
from lpr_lightning.functional.schedules import LinearSchedule
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import arguments, built, built_each
from lpr_lightning.nets.action_nets import ActionNet, ConceptNetwork, NetSettings, Observation
from lpr_lightning.nets.encoders import Encoder
from lpr_lightning.objectives import Objective
from lpr_lightning.objectives.step_rewards import StepReward
from lpr_lightning.protocols import Simulator


class DQN(ValueAgent):
    """Recommends the action of the greatest value, learned by deep Q-learning (Mnih et al. 2015).

    With the double target of arXiv 1509.06461, a target network, n-step returns, and epsilon-greedy exploration on a
    schedule. Batches are `PathRequest`; steps return `{"request", "rollout"}`.

    Differs from the papers:
    1. Where actions are concepts, one network values each by its own numbers (`ConceptNetwork`).
    2. Adam instead of RMSProp; the target network is copied every so many batches, each of several updates.
    3. Episodes end at the horizon, and the state counts the steps left.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        simulator: what answers as the learner; its actions are recommended.
        goal: what a path is for; default the targets of each request under a hard exam.
        objectives: what a path is judged by, in reports alone.
        early_stop: end an episode once its exam is full.
        encoder: what the agent sees of a learner; default `TracerState`.
        reward: what a step is worth; default `AttainableGain`.
        net: the network; default `ConceptNetwork`, which needs concepts as actions.
        replay: what is kept, drawn and updated.
        exploration: share of actions taken at random, by batches; default from 1 to 0.05 in 100.
        discount: gamma, from 0 to 1.
        candidates: which actions may be taken: `all`, on the `targets`, or on their `closure` under prerequisites.
        repeats: an action may be taken again within an episode.
        double: the trained network chooses, the target network values; else the latter does both.
        target_every: batches between two copies to the target network.
        learning_rate: of Adam.
        max_grad_norm: gradients are clipped to this norm.

    Raises:
        SettingError: a setting is out of range, or no simulator is given.
    """

    def __init__(
        self,
        num_concepts: int | None = None,
        simulator: Simulator | None = None,
        goal: ConceptGoal | None = None,
        objectives: Sequence[Objective] = (),
        early_stop: bool = False,
        encoder: Encoder | None = None,
        reward: StepReward | None = None,
        net: NetSettings | None = None,
        replay: ReplaySettings | None = None,
        exploration: LinearSchedule | None = None,
        discount: float = 1.0,
        candidates: Candidates = "all",
        repeats: bool = True,
        double: bool = True,
        target_every: int = 5,
        learning_rate: float = 1e-3,
        max_grad_norm: float = 10.0,
    ) -> None:
        settings = arguments(locals())
        wanted, learners = built_each(objectives, Objective), needed_simulator(simulator)
        super().__init__(
            num_concepts,
            learners,
            goal,
            wanted,
            early_stop,
            encoder,
            reward,
            discount,
            candidates,
            repeats,
            max_grad_norm,
        )
        self.save_hyperparameters(settings)
        self.start_replay(built(replay, ReplaySettings) or ReplaySettings())
        self.double_target = double
        chosen = (built(net, NetSettings) or ConceptNetwork()).build(self.sizes, per_action=1)
        self.start_values(
            chosen, built(exploration, LinearSchedule) or LinearSchedule(1.0, 0.05, 100), target_every, learning_rate
        )

    def values(self, net: ActionNet, seen: Observation) -> Tensor:
        """Return Q of all actions."""
        value: Tensor = net(seen)[0]
        return value.squeeze(-1)

    def update(self, drawn: Transitions, seen: Observation, later: Observation, draws: Draws) -> dict[str, Tensor]:
        """Take a step towards the double target."""
        with torch.no_grad():
            online, target = self.values(self.net, later), self.values(self.target, later)
            wanted = double_q_target(
                drawn.reward, drawn.discount, online, target, self.allowed(later), self.double_target
            )
        value = self.values(self.net, seen).gather(1, drawn.action[:, None]).squeeze(1)
        loss, error = td_loss(value, wanted, drawn.weight)
        self.descend_part("critic", loss)
        return {"loss": loss, "value": value.mean(), "errors": error}
