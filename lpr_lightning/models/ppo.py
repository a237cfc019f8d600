"""Proximal policy optimisation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lpr_lightning.bases.on_policy import OnPolicyAgent, Played
from lpr_lightning.bases.step_agent import Candidates, needed_simulator
from lpr_lightning.errors import checked, checked_positive
from lpr_lightning.functional.policy_gradient import proximal
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import arguments, built, built_each
from lpr_lightning.nets.action_nets import ConceptNetwork, NetSettings
from lpr_lightning.nets.encoders import Encoder
from lpr_lightning.objectives import Objective
from lpr_lightning.objectives.step_rewards import StepReward
from lpr_lightning.protocols import Simulator


class PPO(OnPolicyAgent):
    """Recommends by an actor that is improved by clipped steps (arXiv 1707.06347, eq. 7).

    For each batch of episodes, `passes` steps of actor and critic over all of them, with generalised advantages.
    Batches are `PathRequest`; steps return `{"request", "rollout"}`.

    Differs from the paper:
    1. Each pass is one step over all episodes of the batch, without minibatches: the same on any number of processes.
    2. Actor and critic share no weights; where actions are concepts, both read each concept by its own numbers.
    3. Episodes end at the horizon, and the state counts the steps left.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        simulator: what answers as the learner; its actions are recommended.
        goal: what a path is for; default the targets of each request under a hard exam.
        objectives: what a path is judged by, in reports alone.
        early_stop: end an episode once its exam is full.
        encoder: what the agent sees of a learner; default `TracerState`.
        reward: what a step is worth; default `AttainableGain`.
        net: the networks of actor and critic; default `ConceptNetwork`, which needs concepts as actions.
        group_size: episodes of each request.
        trace: lambda of the generalised advantages, from 0 to 1.
        passes: steps over the same episodes.
        clip: how far a ratio of probabilities may go from 1 (paper: 0.2).
        entropy_weight: weight of the entropy bonus.
        discount: gamma, from 0 to 1.
        candidates: which actions may be taken: `all`, on the `targets`, or on their `closure` under prerequisites.
        repeats: an action may be taken again within an episode.
        learning_rate: of Adam, for the actor.
        critic_learning_rate: of Adam, for the critic.
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
        group_size: int = 4,
        trace: float = 0.95,
        passes: int = 6,
        clip: float = 0.2,
        entropy_weight: float = 0.01,
        discount: float = 1.0,
        candidates: Candidates = "all",
        repeats: bool = True,
        learning_rate: float = 1e-3,
        critic_learning_rate: float = 1e-3,
        max_grad_norm: float = 1.0,
    ) -> None:
        settings = arguments(locals())
        wanted, learners = built_each(objectives, Objective), needed_simulator(simulator)
        super().__init__(
            *(num_concepts, learners, goal, wanted, early_stop, encoder, reward),
            *(discount, candidates, repeats, max_grad_norm),
        )
        self.save_hyperparameters(settings)
        chosen = built(net, NetSettings) or ConceptNetwork()
        self.start_actor(chosen, group_size, trace, learning_rate, critic_learning_rate)
        self.passes, self.clip = checked("passes", passes, 1), checked_positive("clip", clip)
        self.entropy_weight = checked("entropy_weight", entropy_weight, 0.0)

    def learn(self, played: Played) -> dict[str, Tensor]:
        """Take the steps."""
        before = played.chosen(played.old)
        for _ in range(self.passes):
            error = self.fit_critic(played)
            figures = self.fit_actor(
                played, lambda log_prob: proximal(log_prob, before, played.advantage, self.clip), self.entropy_weight
            )
        return figures | {"loss_critic": error}
