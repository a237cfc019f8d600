"""Soft actor-critic over the vectors of exercises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lpr_lightning.bases.off_policy import ReplaySettings
from lpr_lightning.bases.replay import Transitions
from lpr_lightning.bases.step_agent import Candidates, Part
from lpr_lightning.bases.vector_agent import VectorAgent
from lpr_lightning.draws import Draws
from lpr_lightning.errors import checked_positive
from lpr_lightning.functional.continuous_control import (
    critic_loss,
    soft_actor_loss,
    soft_target,
    sphere_entropy,
    temperature_loss,
)
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import arguments, built
from lpr_lightning.nets.action_nets import Observation
from lpr_lightning.nets.chain_credit import ChainCredit
from lpr_lightning.nets.encoders import Encoder
from lpr_lightning.nets.sphere_actors import ActorSettings
from lpr_lightning.nets.vector_critics import CriticSettings, PlainValue
from lpr_lightning.objectives import Objective
from lpr_lightning.objectives.step_rewards import StepReward
from lpr_lightning.protocols import Simulator


class SAC(VectorAgent):
    """Recommends the exercise nearest to a direction, learned by soft actor-critic (Haarnoja et al. 2018).

    The policy is a normal distribution projected to the sphere; its log-probability is that of the direction, the
    radius integrated out. Twin critics start apart. Batches are `PathRequest`; steps return `{"request", "rollout"}`.

    Differs from the papers:
    1. The exercise that is asked is what the critics learn from; ExRec's code trains on the raw vector.
    2. ExRec's code takes the log-probability of the sample before it is projected, which is another density.
    3. Episodes end at the horizon, and the state counts the steps left.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        simulator: what answers as the learner; its actions are recommended.
        goal: what a path is for; default the targets of each request under a hard exam.
        objectives: what a path is judged by, in reports alone.
        early_stop: end an episode once its exam is full.
        encoder: what the agent sees of a learner; default `TracerState`.
        reward: what a step is worth; default `MeanGain`.
        replay: what is kept, drawn and updated.
        actor: the actor's network; default `PlainActor`.
        critic: `PlainValue`, or `ModelValue` for model-based value expansion.
        discount: gamma, from 0 to 1 (paper: 0.99).
        candidates: which exercises may be asked: `all`, those on the `targets`, or on their `closure`, the targets and
            all that they build on, where the data have prerequisites.
        repeats: an exercise may be asked again within an episode.
        temperature: of the entropy, above 0, in units of the reward; at the start, where it is learned.
        noise: length by which noise should move directions, above 0: the temperature is learned so that the entropy
            is that of such noise; None leaves the temperature fixed (paper).
        target_rate: of the target critics, from 0 to 1 (Polyak).
        actor_rate: learning rate of Adam (paper: 5e-5).
        critic_rate: learning rate of Adam (paper: 5e-5).
        temperature_rate: learning rate of Adam on the logarithm of the temperature.
        max_grad_norm: gradients are clipped to this norm.
        shaping: credit on the way for what the goal's concepts build on; None leaves rewards as they are (paper).
        refined: exercises nearest to a direction of which the critics choose one, outside training (arXiv 1512.07679);
            1 asks the nearest (paper).

    Raises:
        SettingError: a setting is out of range, or no simulator is given.
    """

    default_critic: CriticSettings = PlainValue()

    def __init__(
        self,
        num_concepts: int | None = None,
        simulator: Simulator | None = None,
        goal: ConceptGoal | None = None,
        objectives: Sequence[Objective] = (),
        early_stop: bool = False,
        encoder: Encoder | None = None,
        reward: StepReward | None = None,
        replay: ReplaySettings | None = None,
        actor: ActorSettings | None = None,
        critic: CriticSettings | None = None,
        discount: float = 0.99,
        candidates: Candidates = "all",
        repeats: bool = True,
        temperature: float = 0.01,
        noise: float | None = 0.3,
        target_rate: float = 0.01,
        actor_rate: float = 3e-4,
        critic_rate: float = 3e-4,
        temperature_rate: float = 3e-3,
        max_grad_norm: float = 10.0,
        shaping: ChainCredit | None = None,
        refined: int = 1,
    ) -> None:
        settings = arguments(locals())
        own = goal, objectives, early_stop, encoder, reward
        super().__init__(num_concepts, simulator, *own, discount, candidates, repeats, max_grad_norm, shaping, refined)
        self.save_hyperparameters(settings)
        self.start_replay(built(replay, ReplaySettings) or ReplaySettings())
        chosen = built(critic, CriticSettings) or self.default_critic
        self.start_networks(actor, chosen, 2, True, (actor_rate, critic_rate, target_rate))
        start = torch.tensor(checked_positive("temperature", temperature)).log()
        self.log_temperature = nn.Parameter(start, requires_grad=noise is not None)
        self.temperature_rate = checked_positive("temperature_rate", temperature_rate)
        size = self.actor.concepts.shape[1]
        self.wanted = None if noise is None else sphere_entropy(size, checked_positive("noise", noise))

    def parts(self) -> Mapping[str, Part]:
        """Return actor, critics, and the temperature where it is learned."""
        if self.wanted is None:
            return super().parts()
        return {**super().parts(), "temperature": Part([self.log_temperature], self.temperature_rate)}

    def update(self, drawn: Transitions, seen: Observation, later: Observation, draws: Draws) -> dict[str, Tensor]:
        """Take a step of the critics, one of the actor, and one of the temperature."""
        at, after = self.situations(drawn, seen, later)
        temperature, rows = self.log_temperature.detach().exp(), len(drawn.reward)
        with torch.no_grad():
            direction, log_prob = self.drawn(after.seen, self.noise(draws.at(1), rows))
            following = self.target(after, self.taken_vector(self.nearest(direction, after)), self.going(draws.at(2)))
            wanted = soft_target(drawn.reward, following, log_prob, temperature, drawn.discount)
        value = self.critics(at, self.taken_vector(drawn.action), self.going(draws.at(3)))
        loss = critic_loss(value, wanted, drawn.weight)
        self.descend_part("critic", loss)
        direction, log_prob = self.drawn(at.seen, self.noise(draws.at(4), rows))
        judged = self.critics(at, direction, self.going(draws.at(5)), climbing=True)
        actor = soft_actor_loss(judged, log_prob, temperature)
        self.descend_part("actor", actor)
        if self.wanted is not None:
            self.descend_part("temperature", temperature_loss(self.log_temperature, log_prob, self.wanted))
        self.follow()
        figures = {"loss": loss, "loss_actor": actor, "value": value.mean(), "temperature": temperature}
        return {**figures, "entropy": -log_prob.mean(), "errors": (value - wanted).abs().amax(0)}
