"""Cognitive structure enhanced adaptive learning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.bases.on_policy import OnPolicyAgent, Played
from lpr_lightning.bases.step_agent import needed_simulator
from lpr_lightning.errors import checked
from lpr_lightning.functional.navigation import neighbourhood
from lpr_lightning.functional.prerequisites import direct_prerequisites
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import arguments, built, built_each
from lpr_lightning.nets.action_nets import ConceptNetwork, NetSettings, Observation
from lpr_lightning.nets.encoders import Encoder, Session
from lpr_lightning.objectives import Objective
from lpr_lightning.objectives.step_rewards import StepReward
from lpr_lightning.protocols import Simulator
from lpr_lightning.types import PAD


class CSEAL(OnPolicyAgent):
    """Recommends among neighbours of the last concept, by an actor-critic (CSEAL, Liu et al. 2019, arXiv 1905.12470).

    Cognitive navigation: after the first step only what is near the last concept in the prerequisites may follow, that
    is itself, what needs it, what it needs within `hops` steps and what needs those, as far as a target builds on it.
    Data without prerequisites exclude nothing. Batches are `PathRequest`; steps return `{"request", "rollout"}`.

    Differs from the paper:
    1. Only targets and what they build on may be taken, from the first step on. In the released code the first step is
       free, and a missing argument skips the test whether a target can be reached.
    2. Targets may always follow: in prerequisites that fall apart, no other target is ever near the first one.
    3. A GRU over the answers that is trained with the agent, from a zero state, instead of a tracer of its own whose
       initial state is random in the released code.
    4. Advantages are generalised and standardised over the batch; episodes end at the horizon, which the state counts.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        simulator: what answers as the learner; its actions are recommended.
        goal: what a path is for; default the targets of each request under a hard exam.
        objectives: what a path is judged by, in reports alone.
        early_stop: end an episode once its exam is full.
        encoder: what the agent sees of a learner; default `Session`.
        reward: what a step is worth; default `AttainableGain`.
        net: the networks of actor and critic; default `ConceptNetwork`, which needs concepts as actions.
        hops: how far back prerequisites of the last concept are looked for (released code: 2).
        group_size: episodes of each request.
        trace: lambda of the generalised advantages, from 0 to 1.
        entropy_weight: weight of the entropy bonus.
        discount: gamma, from 0 to 1.
        repeats: an action may be taken again within an episode.
        learning_rate: of Adam, for the actor.
        critic_learning_rate: of Adam, for the critic and the encoder.
        max_grad_norm: gradients are clipped to this norm.

    Raises:
        SettingError: a setting is out of range, or no simulator is given.
    """

    near: Tensor

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
        hops: int = 2,
        group_size: int = 4,
        trace: float = 1.0,
        entropy_weight: float = 0.01,
        discount: float = 1.0,
        repeats: bool = True,
        learning_rate: float = 1e-3,
        critic_learning_rate: float = 1e-3,
        max_grad_norm: float = 1.0,
    ) -> None:
        settings = arguments(locals())
        wanted, learners = built_each(objectives, Objective), needed_simulator(simulator)
        super().__init__(
            *(num_concepts, learners, goal, wanted, early_stop, built(encoder, Encoder) or Session(), reward),
            *(discount, "closure", repeats, max_grad_norm),
        )
        self.save_hyperparameters(settings)
        chosen = built(net, NetSettings) or ConceptNetwork()
        self.start_actor(chosen, group_size, trace, learning_rate, critic_learning_rate)
        self.entropy_weight, self.hops = checked("entropy_weight", entropy_weight, 0.0), checked("hops", hops, 0)
        self.register_buffer("near", torch.ones(self.num_concepts, self.num_concepts, dtype=torch.bool))
        self.ancestors.fill_(True)

    def prepare(self) -> None:
        """Take the neighbours of each concept from the data's prerequisites."""
        super().prepare()
        edges = self.data().prerequisites
        if edges is None or not len(edges):
            self.ancestors.fill_(True)
            self.near.fill_(True)
        else:
            self.near.copy_(neighbourhood(direct_prerequisites(edges, self.num_concepts), self.hops))

    def allowed(self, seen: Observation) -> Tensor:
        """Return which actions may be taken, [..., A] bool: near the last one; all that lead to a target if none is."""
        allowed = super().allowed(seen)
        count = (seen.taken != PAD).sum(-1, keepdim=True)
        last = (
            seen.taken.gather(-1, (count - 1).clamp_min(0)).squeeze(-1) if seen.taken.shape[-1] else count[..., 0] - 1
        )
        on = self.simulator.actions.at(last).concept  # -1 where nothing was taken
        near = (F.embedding(on.clamp_min(0), self.near.float()) * (on >= 0)[..., None]).sum(-2) > 0
        near = near | seen.goal
        concept = self.simulator.actions.at(torch.arange(self.sizes.actions, device=near.device)).concept
        reachable = allowed & (near[..., concept.clamp_min(0)] & (concept >= 0)).any(-1)
        free = (count == 0) | ~reachable.any(-1, keepdim=True)
        return torch.where(free, allowed, reachable)

    def learn(self, played: Played) -> dict[str, Tensor]:
        """Take a step of the critic, and one of the actor."""
        error = self.fit_critic(played)
        figures = self.fit_actor(played, lambda log_prob: log_prob * played.advantage, self.entropy_weight)
        return figures | {"loss_critic": error}
