"""What agents have in common whose actions are directions in the space of the exercises' vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lpr_lightning.bases.off_policy import OffPolicyAgent
from lpr_lightning.bases.replay import Episodes, Transitions
from lpr_lightning.bases.staged import datamodule_of
from lpr_lightning.bases.step_agent import KNOWN, LEFT, TAKEN, Candidates, Part, needed_simulator
from lpr_lightning.bases.tracer import TracerModule
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked, checked_positive, checked_share
from lpr_lightning.functional.projected_normal import projected_normal_log_prob, projected_normal_sample
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import built, built_each
from lpr_lightning.nets.action_nets import Observation
from lpr_lightning.nets.chain_credit import ChainCredit
from lpr_lightning.nets.encoders import Encoder, Memory, TracerState
from lpr_lightning.nets.sphere_actors import ActorSettings, PlainActor, Situation
from lpr_lightning.nets.targets import follow
from lpr_lightning.nets.tracer_net import TracerNet
from lpr_lightning.nets.vector_critics import CriticSettings, Going, Ingredients, ModelCritic, Twins
from lpr_lightning.objectives import Objective
from lpr_lightning.objectives.step_rewards import MeanGain, StepReward
from lpr_lightning.protocols import Act, Environment, HasVectors, LearnerData, Simulator
from lpr_lightning.ranks import rank_and_world
from lpr_lightning.simulators.actions import ActionSet
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.tensors import listed
from lpr_lightning.types import PAD, Exercise, InteractionBatch, PathRequest, Rollout, State


class VectorAgent(OffPolicyAgent):
    """An agent whose actor gives a direction; the exercise whose vector has the largest cosine with it is asked.

    What is asked is what critics learn from: replay keeps the exercises' numbers, and critics read their vectors, in
    targets too. An actor climbs its critics from the direction itself (Dulac-Arnold et al. 2015, arXiv 1512.07679).
    Vectors are those of the tracer where it has a space of them (CalibratedDKT), else those that the actions were given
    (`embed`), else each concept is a coordinate, and an exercise the mean of its concepts.

    A subclass calls `start_networks` in its constructor, and gives `directions` and `update`.

    Args:
        num_concepts: number of concepts of the data.
        simulator: what answers as the learner; its actions are the agent's.
        goal: what a path is for; default the targets of each request.
        objectives: what a path is judged by, in reports alone.
        early_stop: end an episode once its exam is full.
        encoder: what the agent sees of a learner; default `TracerState`.
        reward: what a step is worth; default `MeanGain`, which `ModelValue` needs.
        discount: gamma, from 0 to 1.
        candidates: which exercises may be asked: `all`, those on the `targets`, or on their `closure`.
        repeats: an exercise may be asked again within an episode.
        max_grad_norm: gradients are clipped to this norm.
        shaping: credit on the way for what the goal's concepts build on; None leaves rewards as they are (paper).
        refined: exercises nearest to a direction of which the critics choose one, outside training.

    Raises:
        SettingError: a setting is out of range, or does not fit the critic.
    """

    def __init__(
        self,
        num_concepts: int | None,
        simulator: Simulator | None,
        goal: ConceptGoal | None,
        objectives: Sequence[Objective],
        early_stop: bool,
        encoder: Encoder | None,
        reward: StepReward | None,
        discount: float,
        candidates: Candidates,
        repeats: bool,
        max_grad_norm: float,
        shaping: ChainCredit | None,
        refined: int,
    ) -> None:
        wanted, learners = built_each(objectives, Objective), needed_simulator(simulator)
        worth = built(reward, StepReward) or MeanGain()
        own = goal, wanted, early_stop, encoder, worth
        super().__init__(num_concepts, learners, *own, discount, candidates, repeats, max_grad_norm)
        self.refined = checked("refined", refined, 1)
        chosen = built(shaping, ChainCredit)
        self.potential = None if chosen is None else chosen.build(self.num_concepts)
        if self.potential is not None and not (isinstance(self.encoder, TracerState) and self.encoder.reads_mastery):
            raise SettingError("encoder", type(self.encoder).__name__, "TracerState with mastery, which shaping reads")

    def start_networks(
        self,
        actor: ActorSettings | None,
        critic: CriticSettings,
        critics: int,
        noise: bool,
        rates: tuple[float, float, float],
    ) -> None:
        """Make actor, critics and targets; `rates` of actor, critic and target."""
        actions = self.actions
        concepts = self._space(ready=self._ready)
        self.model_based = critic.needs_model
        if self.model_based and not (isinstance(self.encoder, TracerState) and self.encoder.reads_state):
            raise SettingError("encoder", type(self.encoder).__name__, "TracerState, which a model goes on from")
        scale = self.reward.scale if isinstance(self.reward, MeanGain) else None
        tracer = self.simulator.tracer if isinstance(self.simulator, KESSimulator) else None
        net = tracer.net if isinstance(tracer, TracerModule) else tracer if isinstance(tracer, TracerNet) else None
        of = Ingredients(self.sizes, concepts, net, self.goal, actions, scale, self.discount, self.potential)
        self.actor = (built(actor, ActorSettings) or PlainActor()).build(self.sizes, concepts, noise)
        self.critics = Twins([critic.build(of) for _ in range(critics)])
        self.target = self.critics.copied()
        self.looks_ahead = any(isinstance(one, ModelCritic) and one.horizon > 1 for one in self.critics)
        for name, rate in (("actor_rate", rates[0]), ("critic_rate", rates[1])):
            checked_positive(name, rate)
        self.rates = rates[0], rates[1], checked_share("target_rate", rates[2])

    @property
    def actions(self) -> ActionSet:
        """What may be recommended, with vectors."""
        actions = self.simulator.actions
        if not isinstance(actions, ActionSet):
            raise SettingError("simulator.actions", type(actions).__name__, "actions that can have vectors")
        return actions

    def setup(self, stage: str) -> None:
        """Connect actions to the trainer's data, and give them their vectors, where nobody has."""
        super().setup(stage)
        tracer = self.simulator.tracer if isinstance(self.simulator, KESSimulator) else None
        data = datamodule_of(self.trainer)
        if isinstance(tracer, TracerModule) and not tracer.connected and isinstance(data, LearnerData):
            tracer.connect(data)
        if self.actions.vectors is None:
            concepts = self._space(ready=True)
            for part in self.modules():
                if "concepts" in part._buffers:
                    part.concepts = concepts.to(self.device)

    def prepare(self) -> None:
        """Fit the goal, and connect networks and shaping to the data."""
        super().prepare()
        if self.potential is not None:
            self.potential.connect(self.data())

    def remembered(self, taught: Rollout, row: Tensor) -> Episodes:
        """Return what is learned from a kept rollout, its rewards shaped where there is a potential."""
        episodes = super().remembered(taught, row)
        if self.potential is None:
            return episodes
        scale = self.reward.scale if isinstance(self.reward, MeanGain) else 1.0
        mastery = episodes.steps[0][..., -self.num_concepts :]
        place = torch.arange(mastery.shape[1], device=mastery.device)
        going = place < episodes.length[:, None]  # nothing follows the last step
        potential = scale * self.potential(mastery, episodes.goals.expand(-1, mastery.shape[1], -1)) * going
        change = self.discount * potential[:, 1:] - potential[:, :-1]
        return replace(episodes, reward=episodes.reward + change * going[:, :-1])

    @property
    def restricted(self) -> bool:
        """Whether some exercises may not be asked."""
        return self.candidates != "all" or not self.repeats

    def parts(self) -> Mapping[str, Part]:
        """Return actor and critics; an encoder that is trained belongs to the critics."""
        critic = [weight for weight in self.critics.parameters() if weight.requires_grad]
        encoder = [weight for weight in self.encoder.parameters() if weight.requires_grad]
        return {
            "actor": Part(list(self.actor.parameters()), self.rates[0]),
            "critic": Part([*critic, *encoder], self.rates[1]),
        }

    def choose(self, seen: Observation, allowed: Tensor, draws: Draws | None) -> Act:
        """Return the exercises nearest to the actor's directions, with their noise if there are draws."""
        direction, log_prob = self.directions(seen, draws)
        self.refuse_non_finite("an action", direction)
        nearest = self.actions.nearest(direction, 1, allowed if self.restricted else None)
        return Act(nearest.squeeze(-1), log_prob)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Choose the next exercises: while nothing is explored, the one of the nearest that the critics value most."""
        act = super().act(environment, state, concept, draws)
        if draws is not None or self.refined == 1:
            return act
        seen, (rows, count) = self.seen(state, concept), (len(concept), min(self.refined, len(self.actions)))
        allowed = self.allowed(seen) if self.restricted else None
        nearest = self.actions.nearest(self.mode(seen), count, allowed)
        learner = (
            self.encoder.state_of(state[KNOWN]) if self.model_based and isinstance(self.encoder, TracerState) else ()
        )
        at = Situation(seen, learner, concept, allowed).repeat(count)
        value = self.critics(at, self.taken_vector(nearest.flatten())).amin(0).view(rows, count)
        if allowed is not None:
            value = value.masked_fill(~allowed.gather(1, nearest), -torch.inf)
        best = nearest.gather(1, value.argmax(1, keepdim=True)).squeeze(1)
        return act._replace(action=best.masked_fill(act.action == PAD, PAD))

    def directions(self, seen: Observation, draws: Draws | None) -> tuple[Tensor, Tensor | None]:
        """Return the directions to play, [B, D], and their log-probabilities where they are drawn from a density."""
        if draws is None:
            return self.mode(seen), None
        return self.drawn(seen, draws.normal(self.actor.concepts.shape[1]))

    def mode(self, seen: Observation) -> Tensor:
        """Return the actor's directions without noise, [B, D]."""
        direction: Tensor = self.actor(seen)[0]
        return direction

    def drawn(self, seen: Observation, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the actor's projected normal directions, and their log-probabilities on the sphere."""
        direction, scale = self.actor(seen)
        drawn = projected_normal_sample(direction, scale, noise)
        return drawn, projected_normal_log_prob(drawn, direction, scale)

    def seen(self, state: State, concept: Tensor) -> Observation:
        """Return what is seen in a policy's state."""
        goal = torch.zeros(len(concept), self.num_concepts + 1, dtype=torch.bool, device=concept.device)
        goal = goal.scatter(1, torch.where(concept < 0, self.num_concepts, concept), True)[:, :-1]
        return Observation(self.encoder(state[KNOWN:]), goal, state[LEFT], state[TAKEN])

    def situations(self, drawn: Transitions, seen: Observation, later: Observation) -> tuple[Situation, Situation]:
        """Return where learners stood before the steps drawn, and after them, each with its own state."""
        return self._situation(drawn, seen, drawn.place), self._situation(drawn, later, drawn.end)

    def _situation(self, drawn: Transitions, seen: Observation, place: Tensor) -> Situation:
        learner: tuple[Tensor, ...] = ()
        if self.model_based and isinstance(self.encoder, TracerState):
            episodes = self.replay.episodes
            kept = self.encoder.kept(Memory(episodes.once, episodes.steps), drawn.episode, place[:, None])
            learner = self.encoder.state_of(kept[:, 0])
        concept = listed(seen.goal)
        if not concept.shape[1]:
            concept = torch.full((len(concept), 1), PAD, device=concept.device)
        return Situation(seen, learner, concept, self.allowed(seen) if self.restricted else None)

    def nearest(self, direction: Tensor, at: Situation) -> Tensor:
        """Return the exercises nearest to directions, [B]."""
        return self.actions.nearest(direction, 1, at.allowed).squeeze(-1)

    def taken_vector(self, action: Tensor) -> Tensor:
        """Return the vectors of exercises [B] at length 1, [B, D]."""
        return torch.nn.functional.embedding(action, self.actions.unit)

    def noise(self, draws: Draws, rows: int) -> Tensor:
        """Return standard normal numbers [R, D] for this rank's rows of a batch drawn from replay."""
        rank, world = rank_and_world()
        every = draws.fork(rows * world)
        mine = every.select(torch.arange(rank, rows * world, world, device=every.key.device))
        return mine.normal(self.actions.unit.shape[1])

    def going(self, draws: Draws) -> Going | None:
        """Return how episodes go on under the policy, where critics look further than one step."""
        return UnderPolicy(self, draws) if self.looks_ahead else None

    def follow(self) -> None:
        """Let the target critics follow."""
        follow(self.target, self.critics, self.rates[2])

    @property
    def _ready(self) -> bool:
        tracer = self.simulator.tracer if isinstance(self.simulator, KESSimulator) else None
        known = not isinstance(tracer, TracerModule) or tracer.connected
        return known and self.actions.connected

    @torch.no_grad()
    def _space(self, ready: bool) -> Tensor:
        """Return the concepts' vectors [N, D]; give the actions theirs, if all that is needed is there."""
        concepts = torch.arange(self.num_concepts, device=self.device)
        tracer, actions = self.simulator.tracer if isinstance(self.simulator, KESSimulator) else None, self.actions
        if isinstance(tracer, HasVectors):
            space = tracer.vectors(Exercise.of_concepts(concepts)).clone()
        elif actions.vectors is not None:
            space = self._means(actions.vectors)
        else:
            space = torch.eye(self.num_concepts, device=self.device)
        if ready and actions.vectors is None:
            asked = actions.at(torch.arange(len(actions), device=self.device))
            if isinstance(tracer, HasVectors):
                actions.embed(tracer.vectors(asked))
            else:
                marks = torch.nn.functional.one_hot(asked.concept + 1, self.num_concepts + 1)[..., 1:].sum(1)
                actions.embed(normalize(marks.float(), dim=1))
        return space

    def _means(self, vectors: Tensor) -> Tensor:
        """Return the mean vector of each concept's exercises, [N, D]."""
        asked = self.actions.at(torch.arange(len(vectors), device=vectors.device))
        marks = torch.nn.functional.one_hot(asked.concept + 1, self.num_concepts + 1)[..., 1:].sum(1).float()
        return marks.T @ vectors / marks.sum(0).clamp_min(1)[:, None]


@dataclass(frozen=True)
class UnderPolicy:
    """How episodes go on in an expansion of several steps: the actor's likeliest exercises, drawn answers."""

    agent: VectorAgent
    draws: Draws

    def act(self, at: Situation) -> Tensor:
        """Return the likeliest directions."""
        return self.agent.mode(at.seen)

    def advance(self, at: Situation) -> Situation:
        """Return what is seen one step later."""
        agent, seen = self.agent, at.seen
        concept, goal = at.concept, seen.goal
        if agent.goal.every_step:
            concept = agent.goal.choose(agent.simulator, at.learner, unseen(len(goal), agent.num_concepts, goal.device))
            goal = torch.zeros_like(goal).scatter(1, concept, True)
        if not isinstance(agent.encoder, TracerState):
            raise SettingError("encoder", type(agent.encoder).__name__, "TracerState, which a model goes on from")
        vector = agent.encoder.seen_of(agent.simulator, at.learner)
        after = at._replace(seen=Observation(vector, goal, seen.left - 1, seen.taken), concept=concept)
        return after._replace(allowed=agent.allowed(after.seen) if agent.restricted else None)

    def answers(self, success: Tensor, step: int) -> Tensor:
        """Return drawn answers."""
        rank, world = rank_and_world()
        rows = torch.arange(rank, len(success) * world, world, device=success.device)
        drawn = self.draws.at(step).fork(len(success) * world).select(rows).uniform(success.shape[1])
        return (success > drawn).to(success)


def unseen(count: int, num_concepts: int, device: torch.device) -> PathRequest:
    """Return requests of learners of whom nothing is known, for goals that look at the state alone."""
    nobody = torch.full((count,), PAD, device=device)
    targets = torch.zeros(count, num_concepts, dtype=torch.bool, device=device)
    return PathRequest(InteractionBatch.empty(count, device), targets, torch.ones_like(nobody), nobody, nobody)
