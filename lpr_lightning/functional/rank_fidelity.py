"""Whether a simulator ranks a learner's paths as the truth does."""

from __future__ import annotations

import torch
from torch import Tensor


def rank_fidelity_defined(simulated: Tensor, true: Tensor) -> Tensor:
    """Return True where both tell any paths apart, so that there is a correlation, [B] bool.

    >>> rank_fidelity_defined(torch.tensor([[1.0, 2.0], [1.0, 1.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    tensor([ True, False])
    """
    return (simulated.amax(1) > simulated.amin(1)) & (true.amax(1) > true.amin(1))


def rank_fidelity(simulated: Tensor, true: Tensor) -> Tensor:
    """Return Spearman's rank correlation of two gains over the paths of each learner, [B] in [-1, 1].

    The correlation of the ranks, ties sharing their mean rank. A simulator that adds the same to all paths of a
    learner, or stretches their differences, loses nothing by it: what counts is which path it prefers. 0 where
    `rank_fidelity_defined` is False.

    Args:
        simulated: gain of each path in the simulator, [B, K].
        true: gain of the same paths in truth, [B, K].

    >>> rank_fidelity(torch.tensor([[0.1, 0.2, 0.9]]), torch.tensor([[0.0, 0.5, 0.3]]))
    tensor([0.5000])
    """
    first, second = (_centred(_ranks(value)) for value in (simulated, true))
    scale = (first.square().sum(1) * second.square().sum(1)).sqrt()
    defined = rank_fidelity_defined(simulated, true)
    found = torch.where(defined, (first * second).sum(1) / torch.where(defined, scale, 1.0), 0.0)
    return found.to(simulated)


def _ranks(value: Tensor) -> Tensor:
    """Return the ranks of each row's values from 0, ties sharing their mean, [B, K] float64."""
    below = (value[:, :, None] > value[:, None]).double().sum(2)
    equal = (value[:, :, None] == value[:, None]).double().sum(2)
    return below + (equal - 1) / 2


def _centred(value: Tensor) -> Tensor:
    return value - value.mean(1, keepdim=True)
