"""Twin delayed deterministic policy gradients over the vectors of exercises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lpr_lightning.bases.off_policy import ReplaySettings
from lpr_lightning.bases.replay import Transitions
from lpr_lightning.bases.step_agent import Candidates
from lpr_lightning.bases.vector_agent import VectorAgent
from lpr_lightning.draws import Draws
from lpr_lightning.errors import checked, checked_positive
from lpr_lightning.functional.continuous_control import critic_loss, deterministic_target, smoothed
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import arguments, built
from lpr_lightning.nets.action_nets import Observation
from lpr_lightning.nets.chain_credit import ChainCredit
from lpr_lightning.nets.encoders import Encoder
from lpr_lightning.nets.sphere_actors import ActorSettings
from lpr_lightning.nets.targets import follow, target_of
from lpr_lightning.nets.vector_critics import CriticSettings, PlainValue
from lpr_lightning.objectives import Objective
from lpr_lightning.objectives.step_rewards import StepReward
from lpr_lightning.protocols import Simulator


class TD3(VectorAgent):
    """Recommends the exercise nearest to a direction, learned by TD3 (Fujimoto et al. 2018, arXiv 1802.09477).

    Twin critics, smoothed targets, and an actor that learns at every `delay`-th update only. Batches are `PathRequest`;
    steps return `{"request", "rollout"}`.

    Differs from the papers:
    1. Noise moves directions on the sphere, by a length that does not depend on how many coordinates there are.
    2. Exploration is on; ExRec's code builds its collectors without any.
    3. The exercise that is asked is what the critics learn from; ExRec's code trains on the raw vector.
    4. Episodes end at the horizon, and the state counts the steps left.

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
        critic: `PlainValue` (default), or `ModelValue` for model-based value expansion (ExRec eq. 20 to 23).
        discount: gamma, from 0 to 1 (paper: 0.99).
        candidates: which exercises may be asked: `all`, those on the `targets`, or on their `closure`, the targets and
            all that they build on, where the data have prerequisites.
        repeats: an exercise may be asked again within an episode.
        exploration: length by which noise moves directions while learners are taught in training, above 0.
        smoothing: length by which noise moves the target actor's directions (paper: 0.2 for each coordinate).
        smoothing_clip: where it is cut (paper: 0.5).
        delay: critic updates for each of the actor and of the targets.
        target_rate: of target actor and critics, from 0 to 1 (Polyak).
        actor_rate: learning rate of Adam (paper: 5e-5).
        critic_rate: learning rate of Adam (paper: 5e-5).
        max_grad_norm: gradients are clipped to this norm.
        shaping: credit on the way for what the goal's concepts build on; None leaves rewards as they are (paper).
        refined: exercises nearest to a direction of which the critics choose one, outside training (arXiv 1512.07679);
            1 asks the nearest (paper).

    Raises:
        SettingError: a setting is out of range, or no simulator is given.
    """

    counted: Tensor

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
        exploration: float = 0.3,
        smoothing: float = 0.2,
        smoothing_clip: float = 0.5,
        delay: int = 2,
        target_rate: float = 0.01,
        actor_rate: float = 3e-4,
        critic_rate: float = 3e-4,
        max_grad_norm: float = 10.0,
        shaping: ChainCredit | None = None,
        refined: int = 1,
    ) -> None:
        settings = arguments(locals())
        own = goal, objectives, early_stop, encoder, reward
        super().__init__(num_concepts, simulator, *own, discount, candidates, repeats, max_grad_norm, shaping, refined)
        self.save_hyperparameters(settings)
        self.start_replay(built(replay, ReplaySettings) or ReplaySettings())
        chosen = built(critic, CriticSettings) or PlainValue()
        self.start_networks(actor, chosen, 2, False, (actor_rate, critic_rate, target_rate))
        self.target_actor = target_of(self.actor)
        self.exploration = checked_positive("exploration", exploration)
        self.smoothing = checked_positive("smoothing", smoothing), checked_positive("smoothing_clip", smoothing_clip)
        self.delay = checked("delay", delay, 1)
        self.register_buffer("counted", torch.tensor(0))

    def directions(self, seen: Observation, draws: Draws | None) -> tuple[Tensor, Tensor | None]:
        """Return the actor's directions, moved by noise while it explores."""
        direction = self.mode(seen)
        if draws is not None:
            direction = smoothed(direction, draws.normal(direction.shape[1]), self.exploration, torch.inf)
        return direction, None

    def update(self, drawn: Transitions, seen: Observation, later: Observation, draws: Draws) -> dict[str, Tensor]:
        """Take a step of the critics and, every so often, one of the actor."""
        at, after = self.situations(drawn, seen, later)
        with torch.no_grad():
            direction = self.target_actor(after.seen)[0]
            direction = smoothed(direction, self.noise(draws.at(1), len(direction)), *self.smoothing)
            asked = self.taken_vector(self.nearest(direction, after))
            following = self.target(after, asked, self.going(draws.at(2)))
            wanted = deterministic_target(drawn.reward, following, drawn.discount)
        value = self.critics(at, self.taken_vector(drawn.action), self.going(draws.at(3)))
        loss = critic_loss(value, wanted, drawn.weight)
        self.descend_part("critic", loss)
        self.counted += 1
        figures = {"loss": loss, "value": value.mean(), "errors": (value - wanted).abs().amax(0)}
        if int(self.counted) % self.delay:
            return figures
        actor = -self.critics(at, self.mode(at.seen), self.going(draws.at(5)), climbing=True)[0].mean()
        self.descend_part("actor", actor)
        self.follow()
        follow(self.target_actor, self.actor, self.rates[2])
        return figures
