"""What agents have in common that learn from the episodes they have just played, and no others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lpr_lightning.bases.staged import Outputs, Stage
from lpr_lightning.bases.step_agent import Part, StepAgent, categorical_act
from lpr_lightning.draws import Draws
from lpr_lightning.errors import checked, checked_positive, checked_share
from lpr_lightning.functional.policy_gradient import entropy, masked_log_softmax
from lpr_lightning.functional.returns import generalised_advantage
from lpr_lightning.nets.action_nets import ActionNet, NetSettings, Observation
from lpr_lightning.protocols import Act
from lpr_lightning.ranks import mean_count, mean_over_ranks
from lpr_lightning.types import PathRequest


class Played(NamedTuple):
    """Steps of episodes, [E, L] each: actions, whether they happened, advantages, returns, and the log-probabilities
    [E, L, A] of the policy that took them; `recall` gives what was seen before them, by today's encoder."""

    recall: Callable[[], Observation]
    action: Tensor
    mask: Tensor
    advantage: Tensor
    returns: Tensor
    old: Tensor

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of values [E, L] over the steps that happened; over all ranks once ddp averages it."""
        return (value * self.mask).sum() / mean_count(self.mask.sum())

    def chosen(self, log_prob: Tensor) -> Tensor:
        """Return the log-probabilities [E, L] of the actions taken; 0 where none was."""
        found = log_prob.gather(2, self.action.clamp_min(0)[..., None]).squeeze(2)
        return torch.where(self.mask, found, 0.0)


class OnPolicyAgent(StepAgent):
    """An agent with an actor over single actions and a critic of states, which learns from a batch's own episodes.

    A subclass calls `start_actor` in its constructor, and gives `learn`.
    """

    actor: ActionNet
    critic: ActionNet
    group_size: int
    trace: float
    rates: Mapping[str, float]

    def start_actor(
        self, net: NetSettings, group_size: int, trace: float, learning_rate: float, critic_learning_rate: float
    ) -> None:
        """Make actor and critic.

        Args:
            net: settings of both.
            group_size: episodes of each request.
            trace: lambda of the generalised advantages.
            learning_rate: of the actor.
            critic_learning_rate: of the critic, and of the encoder.
        """
        self.group_size, self.trace = checked("group_size", group_size, 1), checked_share("trace", trace)
        self.rates = {
            "actor": checked_positive("learning_rate", learning_rate),
            "critic": checked_positive("critic_learning_rate", critic_learning_rate),
        }
        self.actor = net.build(self.sizes, per_action=1, relative=True)
        self.critic = net.build(self.sizes, per_action=0, per_state=1)

    @abstractmethod
    def learn(self, played: Played) -> dict[str, Tensor]:
        """Improve actor and critic; return figures to log, among them `loss`."""

    def stages(self) -> Sequence[Stage]:
        """Return the only stage."""
        return [Stage(type(self).__name__, self.improve)]

    def parts(self) -> Mapping[str, Part]:
        """Return critic with the encoder, and actor."""
        return {
            "critic": Part([*self.critic.parameters(), *self.encoder.parameters()], self.rates["critic"]),
            "actor": Part(list(self.actor.parameters()), self.rates["actor"]),
        }

    def log_prob(self, seen: Observation) -> Tensor:
        """Return the actor's log-probabilities, [..., A]."""
        return masked_log_softmax(self.actor(seen)[0].squeeze(-1), self.allowed(seen))

    def value(self, seen: Observation) -> Tensor:
        """Return the critic's values of states, [...]."""
        value: Tensor = self.critic(seen)[1]
        return value.squeeze(-1)

    def choose(self, seen: Observation, allowed: Tensor, draws: Draws | None) -> Act:
        """Return sampled actions, or the likeliest."""
        logit = self.actor(seen)[0].squeeze(-1)
        self.refuse_non_finite("a logit", logit)
        return categorical_act(masked_log_softmax(logit, allowed), draws)

    def improve(self, request: PathRequest, batch_idx: int) -> Outputs:
        """Play episodes and learn from them."""
        taught, episodes = self.play(request, self.group_size)
        place = torch.arange(taught.action.shape[1], device=self.device).expand(len(taught), -1)
        row = torch.arange(len(taught), device=self.device)

        def recall() -> Observation:
            return self.recalled(episodes, row, place)

        with torch.no_grad():
            seen = recall()
            value, old = self.value(seen), self.log_prob(seen)
        advantage = generalised_advantage(episodes.reward, value, taught.mask, self.discount, self.trace)
        played = Played(recall, taught.action, taught.mask, advantage, advantage + value, old)
        figures = self.learn(played._replace(advantage=standardised(advantage, taught.mask)))
        self.count_step()
        self.log_train(figures, taught)
        return {"request": request, "rollout": taught}

    def fit_critic(self, played: Played) -> Tensor:
        """Take a step of critic and encoder towards the returns; return the mean squared error."""
        loss = played.mean((self.value(played.recall()) - played.returns).square())
        self.descend_part("critic", loss)
        return loss

    def fit_actor(self, played: Played, gain: Callable[[Tensor], Tensor], entropy_weight: float) -> dict[str, Tensor]:
        """Take a step of the actor up the mean of `gain`, [E, L] of log-probabilities [E, L], and up its entropy."""
        with torch.no_grad():
            seen = played.recall()
        log_prob = self.log_prob(seen)
        spread = played.mean(entropy(log_prob))
        loss = -played.mean(gain(played.chosen(log_prob))) - entropy_weight * spread
        self.descend_part("actor", loss)
        return {"loss": loss, "entropy": spread}


def standardised(advantage: Tensor, mask: Tensor) -> Tensor:
    """Return advantages less their mean over their standard deviation, over the steps of all ranks."""
    count = mean_count(mask.sum())
    mean = mean_over_ranks((advantage * mask).sum() / count)
    spread = mean_over_ranks(((advantage - mean).square() * mask).sum() / count).sqrt()
    return (advantage - mean) / (spread + 1e-6) * mask
