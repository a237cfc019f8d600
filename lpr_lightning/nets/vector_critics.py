"""Critics of actions that are vectors: plain networks, and the model-based value expansion of ExRec."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import normalize

from lpr_lightning.errors import SettingError, checked, checked_positive
from lpr_lightning.functional.value_expansion import expanded_value, expected_gain
from lpr_lightning.nets.action_nets import Sizes
from lpr_lightning.nets.chain_credit import ChainPotential
from lpr_lightning.nets.sphere_actors import Situation, goal_vector, with_steps
from lpr_lightning.nets.targets import target_of
from lpr_lightning.nets.tracer_net import TracerNet
from lpr_lightning.protocols import Goal, VectorActions
from lpr_lightning.types import PAD, Exercise, State


class Going(Protocol):
    """How an episode goes on under the policy: what an expansion of more than one step needs."""

    def act(self, at: Situation) -> Tensor:
        """Return the policy's action vectors, [B, D]."""
        ...

    def advance(self, at: Situation) -> Situation:
        """Return situations one step later: those of the `learner` that stands there already."""
        ...

    def answers(self, success: Tensor, step: int) -> Tensor:
        """Return answers of these probabilities [B, 2], 0 or 1, of a later step."""
        ...


class Weighing(NamedTuple):
    """How many exercises a direction stands for, and how sharp the softmax over their cosines is."""

    candidates: int = 1
    sharpness: float = 10.0

    def of(self, actions: VectorActions, vector: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the exercises [B, K] nearest to directions [B, D], nearest first, and their weights [B, K]."""
        nearest = actions.nearest(vector, min(self.candidates, len(actions)), allowed)
        cosine = (normalize(vector, dim=-1)[:, None] * F.embedding(nearest, actions.unit)).sum(-1)
        if allowed is not None:  # fewer than the candidates may be left
            cosine = cosine.masked_fill(~allowed.gather(1, nearest), -torch.inf)
        return nearest, (self.sharpness * cosine).softmax(1)


DIRECT, NEAREST = Weighing(1), Weighing(8)


class VectorCritic(nn.Module, ABC):
    """A network that says what an action, given as a vector, is worth; rows are independent of each other."""

    @abstractmethod
    def forward(self, at: Situation, vector: Tensor, going: Going | None = None, climbing: bool = False) -> Tensor:
        """Return values [B] of action vectors [B, D].

        They are vectors of exercises or, `climbing`, an actor's directions, on to which gradients flow.
        """

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: values are without dropout."""
        return super().train(False)

    @abstractmethod
    def share(self, other: Self) -> None:
        """Refer to what another critic refers to: what is not its own is not copied with it."""


class PlainCritic(VectorCritic):
    """A network that knows nothing of the model: W3 ReLU(W2 [ReLU(W0 [state; goal]); ReLU(W1 vector)]).

    Source: the `kc_critic` of ExRec's code.

    Differs from it in that a direction may be valued by the exercises nearest to it: a network is only trained where
    there are exercises, and its slope elsewhere may lead anywhere.

    Args:
        sizes: of what is seen.
        concepts: vectors of the concepts, [N, D].
        hidden_size: width of W0 and W1.
        up_size: width of W2.
        actions: the exercises, with vectors; needed where a direction stands for several.
        weighing: how many exercises a direction stands for; for 1 it is read as it is.
    """

    concepts: Tensor

    def __init__(
        self,
        sizes: Sizes,
        concepts: Tensor,
        hidden_size: int,
        up_size: int,
        actions: VectorActions | None = None,
        weighing: Weighing = DIRECT,
    ) -> None:
        super().__init__()
        self.register_buffer("concepts", concepts.detach().clone())
        size = concepts.shape[1]
        self.actions, self.weighing = (actions,), weighing  # in a tuple: they belong to the simulator
        self.state, self.action = nn.Linear(sizes.vector + 1 + size, hidden_size), nn.Linear(size, hidden_size)
        self.joint, self.value = nn.Linear(2 * hidden_size, up_size), nn.Linear(up_size, 1)

    def forward(self, at: Situation, vector: Tensor, going: Going | None = None, climbing: bool = False) -> Tensor:
        """Return values [B]."""
        state = self.state(torch.cat([with_steps(at.seen), goal_vector(at.seen.goal, self.concepts)], -1)).relu()
        (actions,) = self.actions
        if not climbing or actions is None or self.weighing.candidates == 1:
            return self._valued(state, vector)
        nearest, weight = self.weighing.of(actions, vector, at.allowed)
        value = self._valued(state[:, None].expand(-1, nearest.shape[1], -1), F.embedding(nearest, actions.unit))
        return (weight * value).sum(1)

    def share(self, other: Self) -> None:
        """Refer to the same actions."""
        self.actions = other.actions

    def _valued(self, state: Tensor, vector: Tensor) -> Tensor:
        """Return the values [...] of vectors [..., D] after hidden states [..., H]."""
        pair = torch.cat([state, self.action(normalize(vector, dim=-1)).relu()], -1)
        value: Tensor = self.value(self.joint(pair).relu()).squeeze(-1)
        return value


class _Step(NamedTuple):
    """One step in the model: expected gain [B], success of what was asked [B], states after both answers, [2B]."""

    gain: Tensor
    success: Tensor
    after: State


class ModelCritic(VectorCritic):
    """Reads the value of an exercise off a trainable copy of the tracer (ExRec eq. 20 to 23).

    Q(s, a) = scale x [p v(1) + (1 - p) v(0) - v]: p is the chance of success on the exercise `a`, v(k) the goal's mean
    mastery after answer k, v that before it. All four come from the action and the learner's own state, so that
    gradients reach the action through p and through both next states. Over more than one step the expansion goes on
    from both outcomes under the policy, one answer drawn at each further step, as far as the episode lasts.

    Tracers over vectors are asked the action's vector itself. Others know exercises by number: an actor's direction is
    valued by the nearest exercises, the mean of their values by the softmax of `sharpness` times their cosines, so that
    gradients reach it there too.

    Differs from the paper and its code:
    1. A row's value depends on that row only; the code runs the whole minibatch as one sequence from each state.
    2. p is recomputed from the action, not the logged one; next states have their own cell; v is that of the state.
    3. Twins start apart: every weight of a copy is moved by `apart` times the spread of its tensor, so that the least
       of both is not one network's.
    4. Expansions of more than one step are ours (after Feinberg et al. 2018).

    Args:
        net: the tracer's network, of which a copy is trained.
        goal: what counts.
        actions: the exercises, with vectors.
        horizon: steps of the expansion (paper: 1).
        scale: of values, as of rewards (paper: 1000).
        gamma: discount within the expansion.
        apart: how far the copy is moved from the tracer.
        weighing: how many exercises a direction stands for, where the tracer does not read vectors.
        potential: what rewards are shaped by, and values with them: v is the goal's mastery plus this.
    """

    def __init__(
        self,
        net: TracerNet,
        goal: Goal,
        actions: VectorActions,
        horizon: int = 1,
        scale: float = 1.0,
        gamma: float = 1.0,
        apart: float = 0.0,
        weighing: Weighing = NEAREST,
        potential: ChainPotential | None = None,
    ) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        with torch.no_grad():
            for weight in self.net.asked_weights():
                spread = weight.std() if weight.numel() > 1 else weight.abs()
                weight.requires_grad_(True).add_(apart * spread * torch.randn_like(weight))
        self.goal, self.actions, self.potential = (goal,), (actions,), (potential,)  # in tuples: they belong to others
        self.horizon, self.scale, self.gamma = horizon, scale, gamma
        self.weighing = weighing

    def forward(self, at: Situation, vector: Tensor, going: Going | None = None, climbing: bool = False) -> Tensor:
        """Return values [B]; `going` is what expansions of more than one step need."""
        first = self._step(at, vector, climbing)
        if self.horizon == 1 or going is None:
            return self.scale * first.gain
        both = at._replace(learner=()).repeat(2)._replace(learner=first.after)
        gains = []
        for step in range(1, self.horizon):
            both = going.advance(both)
            later = self._step(both, going.act(both), climbing)
            gains.append(later.gain.view(-1, 2))
            right = going.answers(later.success.detach().view(-1, 2), step).flatten().long()
            index = 2 * torch.arange(len(right), device=right.device) + right
            both = both._replace(learner=tuple(part.index_select(0, index) for part in later.after))
        chance = torch.stack([1 - first.success, first.success], 1)
        return self.scale * expanded_value(first.gain, chance, torch.stack(gains, 2), at.seen.left, self.gamma)

    def share(self, other: Self) -> None:
        """Refer to the same goal, actions and potential."""
        self.goal, self.actions, self.potential = other.goal, other.actions, other.potential

    def _step(self, at: Situation, vector: Tensor, climbing: bool) -> _Step:
        """Ask learners what vectors [B, D] stand for."""
        asked, weight = self._asked(vector, at.allowed, climbing)
        before, (rows, count) = self._value(at.learner, at, torch.ones_like(at.seen.left)), weight.shape
        success = self.net.predict(at.learner, asked)
        answers = weight.new_tensor([0.0, 1.0]).repeat(rows, count)
        after = self.net.practise(at.learner, _twice(asked), answers)
        value = self._value(after, at, at.seen.left - 1).view(rows, count, 2)
        gain = (weight * expected_gain(success, value, before[:, None])).sum(1)
        if count > 1:  # the episode goes on from the nearest one
            first = 2 * count * torch.arange(rows, device=weight.device)
            after = tuple(part.index_select(0, torch.stack([first, first + 1], 1).flatten()) for part in after)
        return _Step(gain, success[:, 0], after)

    def _asked(self, vector: Tensor, allowed: Tensor | None, climbing: bool) -> tuple[Exercise, Tensor]:
        """Return the exercises [B, K] that vectors [B, D] stand for, nearest first, and their weights [B, K]."""
        (actions,) = self.actions
        if self.net.reads_vectors:
            one = vector.new_ones(len(vector), 1)
            nothing = torch.full_like(one, PAD, dtype=torch.int64)
            vector = normalize(vector, dim=-1) * actions.length
            return Exercise(nothing[..., None], nothing, vector[:, None]), one
        weighing = self.weighing if climbing else self.weighing._replace(candidates=1)
        nearest, weight = weighing.of(actions, vector, allowed)
        return actions.at(nearest), weight

    def _value(self, learner: State, at: Situation, left: Tensor) -> Tensor:
        """Return the value [B * G] of G states of each learner, with `left` [B] steps to go."""
        (goal,), (potential,) = self.goal, self.potential
        value = goal.assess(self.net, learner, at.concept).mastery
        if potential is None:
            return value
        states = len(value) // max(len(left), 1)
        marks, left = at.seen.goal.repeat_interleave(states, 0), left.repeat_interleave(states, 0)
        return value + torch.where(left > 0, potential(self.net.mastery(learner), marks), 0.0)


def _twice(asked: Exercise) -> Exercise:
    """Return each of K exercises twice, side by side, [B, 2K]."""
    concept, item = (part.repeat_interleave(2, 1) for part in (asked.concept, asked.item))
    if asked.vector is None:
        return Exercise(concept, item)
    return Exercise(concept, item, asked.vector.expand(-1, 2, -1))  # one vector, asked once


class Twins(nn.ModuleList):
    """Critics of the same make, independent of each other.

    >>> from lpr_lightning.nets.action_nets import Observation
    >>> actions = torch.eye(3)
    >>> twins = Twins([PlainCritic(Sizes(2, 0, 3, 3), actions, 4, 4) for _ in range(2)])
    >>> seen = Observation(torch.zeros(1, 2), torch.ones(1, 3).bool(), torch.tensor([1]), torch.empty(1, 0).long())
    >>> at = Situation(seen, (), torch.tensor([[0, 1, 2]]))
    >>> twins(at, actions[:1]).shape
    torch.Size([2, 1])
    """

    def forward(self, at: Situation, vector: Tensor, going: Going | None = None, climbing: bool = False) -> Tensor:
        """Return the values of all critics, [C, B]."""
        return torch.stack([critic(at, vector, going, climbing) for critic in self])

    def copied(self) -> Twins:
        """Return copies that no optimizer trains."""
        copies = target_of(self)
        for own, other in zip(copies, self, strict=True):
            if isinstance(own, VectorCritic) and isinstance(other, VectorCritic):
                own.share(other)
        return copies


class Ingredients(NamedTuple):
    """What critics are made of: sizes of what is seen, vectors of the concepts, and for those that read a model the
    tracer's network, the goal, the actions, the scale of rewards, the discount, and what rewards are shaped by."""

    sizes: Sizes
    concepts: Tensor
    net: TracerNet | None
    goal: Goal
    actions: VectorActions
    scale: float | None
    discount: float
    potential: ChainPotential | None = None


class CriticSettings(ABC):
    """Base class of the settings of a `VectorCritic`, for SAC, DDPG and TD3 alike."""

    needs_model = False

    @abstractmethod
    def build(self, of: Ingredients) -> VectorCritic:
        """Return a critic, independent of any built before."""


@dataclass(frozen=True)
class PlainValue(CriticSettings):
    """Settings of a `PlainCritic`: the agents without model-based value expansion.

    Args:
        hidden_size: width of what state and action are taken to (paper: 300).
        up_size: width of what joins both (paper: 1200).
        candidates: exercises that an actor's direction is valued by; 1 reads the direction itself (paper).
        sharpness: of the softmax over their cosines with it.

    Raises:
        SettingError: a number is out of range.
    """

    hidden_size: int = 300
    up_size: int = 1200
    candidates: int = 1
    sharpness: float = 10.0

    def __post_init__(self) -> None:
        for name in ("hidden_size", "up_size", "candidates"):
            checked(name, vars(self)[name], 1)
        checked_positive("sharpness", self.sharpness)

    def build(self, of: Ingredients) -> PlainCritic:
        """Return the critic."""
        weighing = Weighing(self.candidates, self.sharpness)
        return PlainCritic(of.sizes, of.concepts, self.hidden_size, self.up_size, of.actions, weighing)


@dataclass(frozen=True)
class ModelValue(CriticSettings):
    """Settings of a `ModelCritic`: model-based value expansion.

    Args:
        horizon: steps of the expansion (paper: 1).
        apart: how far every weight of a copy is moved from the tracer's, in spreads of its tensor.
        candidates: exercises that a vector stands for, where the tracer does not read vectors.
        sharpness: of the softmax over them.

    Raises:
        SettingError: a number is out of range, or (later) the simulator has no network to copy.
    """

    needs_model = True
    horizon: int = 1
    apart: float = 0.01
    candidates: int = 8
    sharpness: float = 10.0

    def __post_init__(self) -> None:
        checked("horizon", self.horizon, 1)
        checked("candidates", self.candidates, 1)
        checked("apart", self.apart, 0.0)
        checked_positive("sharpness", self.sharpness)

    def build(self, of: Ingredients) -> ModelCritic:
        """Return the critic."""
        if of.net is None:
            advice = "take critic=PlainValue, or KESSimulator over a tracer of this library"
            raise SettingError("critic", "ModelValue", "a simulator whose tracer's network can be copied", advice)
        if of.scale is None:
            raise SettingError("reward", "another", "MeanGain with ModelValue, which predicts that gain (ExRec eq. 19)")
        model = of.net, of.goal, of.actions
        weighing = Weighing(self.candidates, self.sharpness)
        return ModelCritic(*model, self.horizon, of.scale, of.discount, self.apart, weighing, of.potential)
