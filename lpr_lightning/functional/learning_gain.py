"""What practice does to a learner: how far prerequisites let it, and how much a step brings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 4.0
"""Levels beyond this distance from 0, in logits, count as this far when a gain is computed."""


def prerequisite_gate(level: Tensor, needed: Tensor, weight: Tensor) -> Tensor:
    """Return how far prerequisites hold, [...] in (0, 1]: as far as the weakest; 1 where there are none.

    min over j of sigmoid(softplus(k1) (level_j + k2)). Ours; the learners of known truth have a gate of this form.

    Args:
        level: of the prerequisites, [..., K] in logits.
        needed: which they are, [..., K], -1 where unused.
        weight: k1 and k2, [2].

    >>> level, needed = torch.tensor([[1.0, 3.0], [2.0, -9.0], [0.0, 0.0]]), torch.tensor([[4, 5], [4, -1], [-1, -1]])
    >>> prerequisite_gate(level, needed, torch.tensor([0.5413, -1.0]))
    tensor([0.5000, 0.7311, 1.0000])
    """
    held = torch.sigmoid(F.softplus(weight[0]) * (level + weight[1]))
    return held.masked_fill(needed < 0, 1.0).amin(-1)


def learning_gain(rate: Tensor, level: Tensor, count: Tensor, shape: Tensor, fading: Tensor) -> Tensor:
    """Return what a step brings in logits, [...], before any gate.

    rate a(level) (1 + count)^(-fading) with a(z) = 2 sigmoid(s0 + s1 z - s2 z^2). Ours: practice brings most near a
    level, and less each time.

    Args:
        rate: of the concept, [...].
        level: of the learner on it, [...] in logits.
        count: earlier answers on it, [...].
        shape: s0, s1, s2, [3].
        fading: how fast repeated practice brings less, a scalar.

    >>> one = torch.ones(1)
    >>> learning_gain(one, 2 * one, one, torch.tensor([1.0, 1.0, 0.75]), one)  # 2 sigmoid(1 + 2 - 3) / 2
    tensor([0.5000])
    """
    near = level.clamp(-LEVELS, LEVELS)
    most = torch.sigmoid(shape[0] + near * (shape[1] - shape[2] * near))
    return 2 * rate * most * torch.exp(-fading * torch.log1p(count))
