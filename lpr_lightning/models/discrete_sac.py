"""Soft actor-critic over single actions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lpr_lightning.bases.off_policy import OffPolicyAgent, ReplaySettings
from lpr_lightning.bases.replay import Transitions
from lpr_lightning.bases.step_agent import Candidates, Part, categorical_act, needed_simulator
from lpr_lightning.draws import Draws
from lpr_lightning.errors import checked_positive, checked_share
from lpr_lightning.functional.policy_gradient import entropy, masked_log_softmax, soft_value
from lpr_lightning.functional.q_learning import td_loss
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import arguments, built, built_each
from lpr_lightning.nets.action_nets import ActionNet, ConceptNetwork, NetSettings, Observation
from lpr_lightning.nets.encoders import Encoder
from lpr_lightning.nets.targets import follow, target_of
from lpr_lightning.objectives import Objective
from lpr_lightning.objectives.step_rewards import StepReward
from lpr_lightning.protocols import Act, Simulator


class DiscreteSAC(OffPolicyAgent):
    """Recommends by soft actor-critic over single actions, expectations taken exactly (arXiv 1910.07207).

    Two critics of their own weights, whose lesser value counts, with targets that follow them (Polyak); an actor that
    maximises E[min Q - alpha log pi]; a temperature alpha that is fixed, or learned so that the entropy is a share of
    that of the allowed actions taken at random. Batches are `PathRequest`; steps return `{"request", "rollout"}`.

    Differs from the paper: as `DQN` does in its network, loss (Huber) and horizon; the entropy to reach is 0.98 of the
    largest there.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        simulator: what answers as the learner; its actions are recommended.
        goal: what a path is for; default the targets of each request under a hard exam.
        objectives: what a path is judged by, in reports alone.
        early_stop: end an episode once its exam is full.
        encoder: what the agent sees of a learner; default `TracerState`.
        reward: what a step is worth; default `AttainableGain`.
        net: the networks of actor and critics; default `ConceptNetwork`, which needs concepts as actions.
        replay: what is kept, drawn and updated.
        temperature: alpha, at the start.
        entropy_share: entropy to reach by learning the temperature, as a share of the largest; None keeps alpha.
        follow_rate: how far the targets go towards the critics at each update (paper: 0.005).
        discount: gamma, from 0 to 1.
        candidates: which actions may be taken: `all`, on the `targets`, or on their `closure` under prerequisites.
        repeats: an action may be taken again within an episode.
        learning_rate: of Adam, for actor, critics and temperature.
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
        temperature: float = 0.02,
        entropy_share: float | None = None,
        follow_rate: float = 0.02,
        discount: float = 1.0,
        candidates: Candidates = "all",
        repeats: bool = True,
        learning_rate: float = 1e-3,
        max_grad_norm: float = 10.0,
    ) -> None:
        settings = arguments(locals())
        wanted, learners = built_each(objectives, Objective), needed_simulator(simulator)
        super().__init__(
            *(num_concepts, learners, goal, wanted, early_stop, encoder, reward),
            *(discount, candidates, repeats, max_grad_norm),
        )
        self.save_hyperparameters(settings)
        self.start_replay(built(replay, ReplaySettings) or ReplaySettings())
        self.entropy_share = None if entropy_share is None else checked_share("entropy_share", entropy_share)
        start = math.log(checked_positive("temperature", temperature))
        self.log_temperature = nn.Parameter(torch.tensor(start), requires_grad=entropy_share is not None)
        self.follow_rate = checked_share("follow_rate", follow_rate)
        self.rate = checked_positive("learning_rate", learning_rate)
        chosen = built(net, NetSettings) or ConceptNetwork()
        self.actor = chosen.build(self.sizes, per_action=1, relative=True)
        self.critics = nn.ModuleList(chosen.build(self.sizes, per_action=1) for _ in range(2))
        self.targets = target_of(self.critics)

    def parts(self) -> Mapping[str, Part]:
        """Return critics with the encoder, actor, and the temperature if it is learned."""
        parts = {
            "critic": Part([*self.critics.parameters(), *self.encoder.parameters()], self.rate),
            "actor": Part(list(self.actor.parameters()), self.rate),
        }
        return parts | ({"temperature": Part([self.log_temperature], self.rate)} if self.entropy_share else {})

    def log_prob(self, seen: Observation) -> Tensor:
        """Return the actor's log-probabilities, [..., A]."""
        return masked_log_softmax(self.actor(seen)[0].squeeze(-1), self.allowed(seen))

    def choose(self, seen: Observation, allowed: Tensor, draws: Draws | None) -> Act:
        """Return sampled actions, or the likeliest."""
        logit = self.actor(seen)[0].squeeze(-1)
        self.refuse_non_finite("a logit", logit)
        return categorical_act(masked_log_softmax(logit, allowed), draws)

    def update(self, drawn: Transitions, seen: Observation, later: Observation, draws: Draws) -> dict[str, Tensor]:
        """Take a step of critics, actor and temperature; let the targets follow."""
        temperature = self.log_temperature.detach().exp()
        with torch.no_grad():
            value = soft_value(self.log_prob(later), lesser(self.targets, later), temperature)
            wanted = drawn.reward + drawn.discount * value
        losses, action = [], drawn.action[:, None]
        for critic in self.critics:
            loss, error = td_loss(critic(seen)[0].squeeze(-1).gather(1, action).squeeze(1), wanted, drawn.weight)
            losses.append(loss)
        critic_loss = torch.stack(losses).sum()
        self.descend_part("critic", critic_loss)
        follow(self.targets, self.critics, self.follow_rate)
        seen = seen._replace(vector=seen.vector.detach())
        with torch.no_grad():
            worth = lesser(self.critics, seen)
        log_prob = self.log_prob(seen)
        actor_loss = -soft_value(log_prob, worth, temperature).mean()
        self.descend_part("actor", actor_loss)
        spread = entropy(log_prob.detach())
        if self.entropy_share:
            most = self.allowed(seen).sum(1).float().log()
            self.descend_part("temperature", self.log_temperature * (spread - self.entropy_share * most).mean())
        figures = {"loss": critic_loss, "loss_actor": actor_loss, "entropy": spread.mean(), "temperature": temperature}
        return figures | {"errors": error}


def lesser(critics: nn.ModuleList, seen: Observation) -> Tensor:
    """Return the lesser of the critics' values of all actions, [..., A]."""
    values = [critic(seen)[0].squeeze(-1) for critic in critics if isinstance(critic, ActionNet)]
    return torch.stack(values).amin(0)
