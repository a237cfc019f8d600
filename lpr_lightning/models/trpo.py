"""Trust region policy optimisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector as flat
from torch.nn.utils import vector_to_parameters

from lpr_lightning.bases.on_policy import OnPolicyAgent, Played
from lpr_lightning.bases.step_agent import Candidates, needed_simulator
from lpr_lightning.errors import checked, checked_positive
from lpr_lightning.functional.policy_gradient import conjugate_gradient, divergence, line_search
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import arguments, built, built_each
from lpr_lightning.nets.action_nets import ConceptNetwork, NetSettings
from lpr_lightning.nets.encoders import Encoder
from lpr_lightning.objectives import Objective
from lpr_lightning.objectives.step_rewards import StepReward
from lpr_lightning.protocols import Simulator
from lpr_lightning.ranks import mean_over_ranks


class TRPO(OnPolicyAgent):
    """Recommends by an actor that takes natural-gradient steps within a trust region (arXiv 1502.05477).

    The step is the largest along F^-1 g whose mean divergence from the policy before is `max_divergence` by its second
    order (F by products, solved by conjugate gradients), then shortened until the surrogate gains and the divergence
    holds (appendix C); the critic takes `critic_steps` steps of Adam. Batches are `PathRequest`; steps return
    `{"request", "rollout"}`.

    Differs from the paper:
    1. Generalised advantages over a critic, instead of the returns of rollouts ("single path").
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
        max_divergence: the trust region (paper: 0.01).
        damping: added to F's diagonal.
        gradient_steps: of conjugate gradients (paper: 10).
        shrink: factor of the step at each try of the line search.
        critic_steps: steps of the critic for each batch.
        discount: gamma, from 0 to 1.
        candidates: which actions may be taken: `all`, on the `targets`, or on their `closure` under prerequisites.
        repeats: an action may be taken again within an episode.
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
        max_divergence: float = 0.01,
        damping: float = 0.1,
        gradient_steps: int = 10,
        shrink: float = 0.8,
        critic_steps: int = 5,
        discount: float = 1.0,
        candidates: Candidates = "all",
        repeats: bool = True,
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
        self.start_actor(built(net, NetSettings) or ConceptNetwork(), group_size, trace, 1.0, critic_learning_rate)
        self.max_divergence = checked_positive("max_divergence", max_divergence)
        self.damping = checked("damping", damping, 0.0)
        self.gradient_steps = checked("gradient_steps", gradient_steps, 1)
        self.shrink = checked("shrink", checked_positive("shrink", shrink), 0.0, 1.0)
        self.critic_steps = checked("critic_steps", critic_steps, 1)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return Adam for the critic; the actor goes whole steps, which `learn` finds."""
        critic, actor = super().configure_optimizers()
        return [critic, torch.optim.SGD([{"params": actor.param_groups[0]["params"], "name": "actor"}], 1.0)]

    def learn(self, played: Played) -> dict[str, Tensor]:
        """Take steps of the critic, then one of the actor."""
        error = torch.stack([self.fit_critic(played) for _ in range(self.critic_steps)])[-1]
        with torch.no_grad():
            seen = played.recall()
        weights = list(self.actor.parameters())
        before = played.chosen(played.old)

        def surrogate(log_prob: Tensor) -> Tensor:
            ratio = (played.chosen(log_prob) - before).exp()
            return played.mean(ratio * played.advantage)

        log_prob = self.log_prob(seen)
        gradient = mean_over_ranks(flat(torch.autograd.grad(surrogate(log_prob), weights, retain_graph=True)))
        slope = flat(torch.autograd.grad(played.mean(divergence(played.old, log_prob)), weights, create_graph=True))

        def product(vector: Tensor) -> Tensor:
            along = torch.autograd.grad(slope @ vector, weights, retain_graph=True)
            return mean_over_ranks(flat(along)) + self.damping * vector

        direction = conjugate_gradient(product, gradient, self.gradient_steps)
        curvature = direction @ product(direction)
        step = direction * (2 * self.max_divergence / curvature.clamp_min(1e-12)).sqrt()
        start = flat(weights).detach()
        reached = mean_over_ranks(surrogate(log_prob))
        self.refuse_non_finite("the step of actor", step)

        @torch.no_grad()
        def tried(share: float) -> tuple[float, float]:
            vector_to_parameters(start + share * step, weights)
            there = self.log_prob(seen)
            gain, far = surrogate(there) - reached, played.mean(divergence(played.old, there))
            return float(mean_over_ranks(gain)), float(mean_over_ranks(far))

        share = line_search(tried, self.max_divergence, self.shrink)
        vector_to_parameters(start, weights)
        for weight, part in zip(weights, torch.split(share * step, [one.numel() for one in weights]), strict=True):
            weight.grad = -part.view_as(weight)
        self.optimizer_of("actor").step()
        return {"loss": -reached, "loss_critic": error, "share": torch.tensor(share)}
