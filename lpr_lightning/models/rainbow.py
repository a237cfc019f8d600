"""Rainbow: six improvements of deep Q-learning at once."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lpr_lightning.bases.off_policy import ReplaySettings
from lpr_lightning.bases.replay import Transitions
from lpr_lightning.bases.step_agent import Candidates
from lpr_lightning.draws import Draws
from lpr_lightning.functional.q_learning import greedy
from lpr_lightning.functional.schedules import LinearSchedule
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import arguments
from lpr_lightning.models.c51 import C51
from lpr_lightning.nets.action_nets import ActionNet, NetSettings, Observation
from lpr_lightning.nets.encoders import Encoder
from lpr_lightning.objectives import Objective
from lpr_lightning.objectives.step_rewards import StepReward
from lpr_lightning.protocols import Simulator

DEFAULT_REPLAY = ReplaySettings(n_step=3, priority=0.5, correction=0.4, correction_batches=200)


class Rainbow(C51):
    """Recommends by distributions of returns, learned with all of Rainbow's parts (arXiv 1710.02298).

    Atoms (`C51`), the double choice of the target's action, a dueling network (logits are those of the state plus each
    action's less their mean, eq. 4), n-step returns, prioritised replay by cross-entropy with corrected weights, and
    exploration by noise in the network's last layers instead of random actions. Noise is drawn once for the episodes of
    a batch, and anew for each update; there is none in validation, test and prediction. Batches are `PathRequest`;
    steps return `{"request", "rollout"}`.

    Differs from the paper: as `DQN` does.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        simulator: what answers as the learner; its actions are recommended.
        goal: what a path is for; default the targets of each request under a hard exam.
        objectives: what a path is judged by, in reports alone.
        early_stop: end an episode once its exam is full.
        encoder: what the agent sees of a learner; default `TracerState`.
        reward: what a step is worth; default `AttainableGain`.
        net: the network; default `ConceptNetwork`, which needs concepts as actions.
        replay: what is kept, drawn and updated; default three steps, priorities to the power 0.5, corrections to the
            power 0.4 that rises to 1 in 200 batches.
        exploration: share of actions taken at random besides, by batches; default none.
        atoms: how many, at least 2.
        low: the lowest return that is told apart.
        high: the highest.
        discount: gamma, from 0 to 1.
        candidates: which actions may be taken: `all`, on the `targets`, or on their `closure` under prerequisites.
        repeats: an action may be taken again within an episode.
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
        atoms: int = 51,
        low: float = -0.5,
        high: float = 1.0,
        discount: float = 1.0,
        candidates: Candidates = "all",
        repeats: bool = True,
        target_every: int = 5,
        learning_rate: float = 1e-3,
        max_grad_norm: float = 10.0,
    ) -> None:
        settings = arguments(locals())
        super().__init__(
            num_concepts,
            simulator,
            goal,
            objectives,
            early_stop,
            encoder,
            reward,
            net,
            replay or DEFAULT_REPLAY,
            exploration or LinearSchedule(0.0, 0.0),
            atoms,
            low,
            high,
            discount,
            candidates,
            repeats,
            target_every,
            learning_rate,
            max_grad_norm,
        )
        self.save_hyperparameters(settings)

    def network(self, net: NetSettings, atoms: int) -> ActionNet:
        """Return the dueling network with noise."""
        return net.build(self.sizes, per_action=atoms, per_state=atoms, noisy=True, relative=True)

    def logits(self, net: ActionNet, seen: Observation) -> Tensor:
        """Return the logits of atoms, [..., A, Z]."""
        advantage, value = net(seen)
        dueling: Tensor = value[..., None, :] + advantage - advantage.mean(-2, keepdim=True)
        return dueling

    def explore(self, draws: Draws | None) -> None:
        """Draw noise for the episodes of a batch; None turns it off."""
        self.net.renew(draws)
        if draws is None:
            self.target.renew(None)

    def best_later(self, later: Observation, target: Tensor) -> Tensor:
        """Return the best actions by the trained network."""
        return greedy(self.values(self.net, later), self.allowed(later))

    def update(self, drawn: Transitions, seen: Observation, later: Observation, draws: Draws) -> dict[str, Tensor]:
        """Draw noise for both networks, and take a step."""
        self.net.renew(draws.at(0))
        self.target.renew(draws.at(1))
        return super().update(drawn, seen, later, draws)
