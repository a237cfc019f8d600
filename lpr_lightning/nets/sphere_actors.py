"""Actors whose actions are directions: the exercise whose vector is nearest is asked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from lpr_lightning.errors import checked
from lpr_lightning.nets.action_nets import STEPS, ConceptActionNet, ConceptNetwork, Observation, Sizes
from lpr_lightning.types import State, repeat_rows

LEAST, MOST = 0.02, 1.0
"""Least and largest length by which noise moves a direction, whatever the number of coordinates."""


class Situation(NamedTuple):
    """What actors and critics are given of B learners on their way.

    `seen`, what the agent sees; the model's state of the `learner`; the `concept` that count, [B, M] int64, -1 where
    unused; the actions that are `allowed`, [B, A] bool, None for all.
    """

    seen: Observation
    learner: State
    concept: Tensor
    allowed: Tensor | None = None

    def repeat(self, count: int) -> Situation:
        """Return every row `count` times, side by side."""
        seen = Observation(*(part.repeat_interleave(count, 0) for part in self.seen))
        allowed = None if self.allowed is None else self.allowed.repeat_interleave(count, 0)
        learner = repeat_rows(self.learner, count)
        return Situation(seen, learner, self.concept.repeat_interleave(count, 0), allowed)


class VectorActor(nn.Module, ABC):
    """Base class: takes what an agent sees to a direction, and to how far noise moves it."""

    concepts: Tensor

    def __init__(self, concepts: Tensor) -> None:
        super().__init__()
        self.register_buffer("concepts", concepts.detach().clone())

    @abstractmethod
    def forward(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Return directions of length 1, and standard deviations of their coordinates, [B, D] both."""

    def spread(self, raw: Tensor) -> Tensor:
        """Return the standard deviation of each coordinate from unbounded numbers [..., D] or [..., 1]."""
        length = LEAST + (MOST - LEAST) * torch.sigmoid(raw)
        return length / math.sqrt(self.concepts.shape[1])


class PlainActorNet(VectorActor):
    """W4 ReLU(W3 [ReLU(W1 state); ReLU(W2 goal vector)]), normalised; the goal's vector is its concepts' mean.

    Source: ExRec, appendix B, and the actors of its code.

    Differs from the paper:
    1. The steps left are part of the state.
    2. Directions have length 1, not sqrt(768): they alone count. Noise of a coordinate has standard deviation
       s / sqrt(D), s between 0.02 and 1, so that it is as long as the direction at most.

    >>> actor = PlainActorNet(Sizes(3, 1, 2, 2), torch.eye(2), 4, 5, noise=True)
    >>> goal, none = torch.tensor([[True, False]]), torch.empty(1, 0).long()
    >>> direction, scale = actor(Observation(torch.zeros(1, 3), goal, torch.tensor([2]), none))
    >>> round(direction.norm().item(), 4), scale.shape
    (1.0, torch.Size([1, 2]))
    """

    def __init__(self, sizes: Sizes, concepts: Tensor, hidden_size: int, up_size: int, noise: bool) -> None:
        super().__init__(concepts)
        size = concepts.shape[1]
        self.state, self.goal = nn.Linear(sizes.vector + 1, hidden_size), nn.Linear(size, hidden_size)
        self.joint, self.direction = nn.Linear(2 * hidden_size, up_size), nn.Linear(up_size, size)
        self.noise = nn.Linear(up_size, size) if noise else None

    def forward(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Return directions and standard deviations."""
        goal = goal_vector(seen.goal, self.concepts)
        pair = torch.cat([self.state(with_steps(seen)).relu(), self.goal(goal).relu()], -1)
        hidden = self.joint(pair).relu()
        direction = normalize(self.direction(hidden), dim=-1)
        return direction, torch.zeros_like(direction) if self.noise is None else self.spread(self.noise(hidden))


class ConceptActorNet(VectorActor):
    """Scores every concept by its own numbers (`ConceptActionNet`); the direction is the sum of score times vector.

    One small network serves all concepts, so that what is learned of one holds for the others.
    """

    def __init__(self, sizes: Sizes, concepts: Tensor, settings: ConceptNetwork, noise: bool) -> None:
        super().__init__(concepts)
        every = sizes._replace(actions=sizes.concepts)
        self.net, self.noisy = ConceptActionNet(every, settings, 1, int(noise), False, False), noise

    def forward(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Return directions and standard deviations."""
        score, raw = self.net(seen._replace(taken=seen.taken[..., :0]))
        direction = normalize(score.squeeze(-1) @ normalize(self.concepts, dim=1), dim=-1)
        return direction, self.spread(raw).expand_as(direction) if self.noisy else torch.zeros_like(direction)


class ActorSettings(ABC):
    """Base class of the settings of a `VectorActor`."""

    @abstractmethod
    def build(self, sizes: Sizes, concepts: Tensor, noise: bool) -> VectorActor:
        """Return an actor for concepts of vectors [N, D]; `noise`: its standard deviations are learned."""


@dataclass(frozen=True)
class PlainActor(ActorSettings):
    """Settings of a `PlainActorNet`, the paper's.

    Args:
        hidden_size: width of what state and goal are taken to (paper: 300).
        up_size: width of what joins both (paper: 1200).

    Raises:
        SettingError: a width is below 1.
    """

    hidden_size: int = 300
    up_size: int = 1200

    def __post_init__(self) -> None:
        checked("hidden_size", self.hidden_size, 1)
        checked("up_size", self.up_size, 1)

    def build(self, sizes: Sizes, concepts: Tensor, noise: bool) -> PlainActorNet:
        """Return the actor."""
        return PlainActorNet(sizes, concepts, self.hidden_size, self.up_size, noise)


@dataclass(frozen=True)
class ConceptActor(ActorSettings):
    """Settings of a `ConceptActorNet`; ours.

    Args:
        hidden_size: width.
        concept_size: width of the vector learned for each concept; 0 treats all concepts alike.
        rounds: rounds of messages along prerequisites, where the data have them.

    Raises:
        SettingError: a number is out of range.
    """

    hidden_size: int = 48
    concept_size: int = 4
    rounds: int = 2

    def __post_init__(self) -> None:
        ConceptNetwork(self.hidden_size, self.concept_size, self.rounds)

    def build(self, sizes: Sizes, concepts: Tensor, noise: bool) -> ConceptActorNet:
        """Return the actor."""
        return ConceptActorNet(sizes, concepts, ConceptNetwork(self.hidden_size, self.concept_size, self.rounds), noise)


def with_steps(seen: Observation) -> Tensor:
    """Return the encoder's vectors with the steps left, in tens, behind them, [..., S + 1]."""
    return torch.cat([seen.vector, (seen.left / STEPS).to(seen.vector)[..., None]], -1)


def goal_vector(goal: Tensor, concepts: Tensor) -> Tensor:
    """Return the mean of the vectors [N, D] of the concepts that count [B, N]; zero where none does.

    >>> goal_vector(torch.tensor([[True, True]]), torch.eye(2))
    tensor([[0.5000, 0.5000]])
    """
    counted = goal.to(concepts)
    return counted @ concepts / counted.sum(1, keepdim=True).clamp_min(1)
