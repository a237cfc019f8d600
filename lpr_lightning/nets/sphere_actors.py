"""Actors whose actions are directions: the exercise whose vector is nearest is asked."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from lpr_lightning.types import State

LEAST, MOST = 0.02, 1.0
"""Least and largest length by which noise moves a direction, whatever the number of coordinates."""


class Situation(NamedTuple):
    """What actors and critics are given of B learners on their way.

    `features` [B, F], what the encoder makes of them; `goal` [B, N], 1 for each concept that counts; the model's state
    of the `learner`; the `concept` that count, [B, M] int64, -1 where unused; the steps that are `left`, [B] int64.
    """

    features: Tensor
    goal: Tensor
    learner: State
    concept: Tensor
    left: Tensor

    def twice(self, learner: State) -> Situation:
        """Return every row twice, side by side, with other states of the learner."""
        features, goal, _, concept, left = self
        return Situation(
            features.repeat_interleave(2, 0),
            goal.repeat_interleave(2, 0),
            learner,
            concept.repeat_interleave(2, 0),
            left.repeat_interleave(2, 0),
        )


class SphereActor(nn.Module):
    """Takes a situation to a direction, and to how far noise moves it.

    With W3 [ReLU(W1 features); ReLU(W2 goal vector)] and a rectifier above it: the direction is normalised, the noise
    of a coordinate has standard deviation s / sqrt(D), s between 0.02 and 1. The goal's vector is the mean of its
    concepts' vectors.

    Differs from the paper (appendix B and its code):
    1. The steps left are among the features.
    2. Directions have length 1, not sqrt(768): only their direction counts.
    3. Noise is as long as the direction at most; there it is up to 0.2 sqrt(768) a coordinate's 1.

    Args:
        feature_size: F.
        concepts: vectors of the concepts, [N, D].
        hidden_size: width of W1 and W2.
        up_size: width of W3.
        noise: whether noise is learned; an actor without is deterministic.

    >>> actor = SphereActor(3, torch.eye(2), 4, 5, noise=True)
    >>> at = Situation(torch.zeros(1, 3), torch.tensor([[1.0, 0.0]]), (), torch.tensor([[0]]), torch.tensor([2]))
    >>> direction, scale = actor(at)
    >>> round(direction.norm().item(), 4), scale.shape
    (1.0, torch.Size([1, 2]))
    """

    concepts: Tensor

    def __init__(self, feature_size: int, concepts: Tensor, hidden_size: int, up_size: int, noise: bool) -> None:
        super().__init__()
        size = concepts.shape[1]
        self.register_buffer("concepts", concepts.detach().clone())
        self.state, self.goal = nn.Linear(feature_size, hidden_size), nn.Linear(size, hidden_size)
        self.joint, self.direction = nn.Linear(2 * hidden_size, up_size), nn.Linear(up_size, size)
        self.noise = nn.Linear(up_size, size) if noise else None

    def forward(self, at: Situation) -> tuple[Tensor, Tensor]:
        """Return directions of length 1, and standard deviations of their coordinates, [B, D] both."""
        goal = goal_vector(at.goal, self.concepts)
        pair = torch.cat([self.state(at.features).relu(), self.goal(goal).relu()], -1)
        hidden = self.joint(pair).relu()
        direction = normalize(self.direction(hidden), dim=-1)
        if self.noise is None:
            return direction, torch.zeros_like(direction)
        length = LEAST + (MOST - LEAST) * torch.sigmoid(self.noise(hidden))
        return direction, length / direction.shape[-1] ** 0.5


def goal_vector(goal: Tensor, concepts: Tensor) -> Tensor:
    """Return the mean of the vectors [N, D] of the concepts that count [B, N]; zero where none does.

    >>> goal_vector(torch.tensor([[1.0, 1.0]]), torch.eye(2))
    tensor([[0.5000, 0.5000]])
    """
    return goal @ concepts / goal.sum(1, keepdim=True).clamp_min(1)
