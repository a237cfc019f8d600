"""Losses of policies over A actions. R rows; where a mask says so, rows do not count."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LARGEST_LOG_RATIO = 20.0
"""Log-ratios are cut here, so that their powers stay finite; clipping bounds are far inside."""


def masked_log_softmax(logit: Tensor, allowed: Tensor) -> Tensor:
    """Return log-probabilities [..., A] among the allowed actions [..., A] bool; -inf elsewhere.

    >>> masked_log_softmax(torch.tensor([[0.0, 5.0, 0.0]]), torch.tensor([[True, False, True]])).exp()
    tensor([[0.5000, 0.0000, 0.5000]])
    """
    return logit.float().masked_fill(~allowed, -torch.inf).log_softmax(-1)


def expectation(log_prob: Tensor, value: Tensor) -> Tensor:
    """Return the sum over actions of probability times value, [...]; what has no probability adds nothing.

    >>> expectation(torch.tensor([[0.5, 0.5, 0.0]]).log(), torch.tensor([[1.0, 3.0, torch.inf]]))
    tensor([2.])
    """
    there = log_prob > -torch.inf
    return (log_prob.exp() * torch.where(there, value, 0.0)).sum(-1)


def entropy(log_prob: Tensor) -> Tensor:
    """Return the entropy [...] of log-probabilities [..., A].

    >>> entropy(torch.tensor([[0.25, 0.25, 0.25, 0.25, 0.0]]).log()).exp()
    tensor([4.])
    """
    there = log_prob > -torch.inf
    return -(log_prob.exp() * torch.where(there, log_prob, 0.0)).sum(-1)


def soft_value(log_prob: Tensor, value: Tensor, temperature: Tensor | float) -> Tensor:
    """Return V = E[Q - alpha log pi], [...] (discrete SAC, Christodoulou 2019, arXiv 1910.07207, eq. 10).

    >>> soft_value(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 1.0]]), 1.0)
    tensor([1.6931])
    """
    return expectation(log_prob, value) + temperature * entropy(log_prob)


def proximal(log_prob: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Return min(ratio A, clip(ratio, 1 - e, 1 + e) A), elementwise (PPO, arXiv 1707.06347, eq. 7); to be maximised.

    >>> proximal(torch.tensor([2.0]).log(), torch.zeros(1), torch.tensor([1.0]), 0.2)
    tensor([1.2000])
    """
    ratio = (log_prob - old.detach()).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def divergence(old: Tensor, new: Tensor) -> Tensor:
    """Return KL(old || new) [...] of log-probabilities [..., A].

    >>> divergence(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log())
    tensor([0.1438])
    """
    there = old > -torch.inf
    return (old.exp() * torch.where(there, old - new, 0.0)).sum(-1)


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], wanted: Tensor, steps: int, enough: float = 1e-10
) -> Tensor:
    """Return x with F x = `wanted` [W], about, for a symmetric positive F that is known by its products (Hestenes).

    Args:
        product: v -> F v.
        wanted: right side.
        steps: at most so many; W give the exact solution.
        enough: squared error at which to stop.

    >>> conjugate_gradient(lambda v: torch.tensor([2.0, 4.0]) * v, torch.tensor([2.0, 2.0]), 2)
    tensor([1.0000, 0.5000])
    """
    found, error = torch.zeros_like(wanted), wanted.clone()
    direction, size = error.clone(), error @ error
    for _ in range(steps):
        if float(size) <= enough:
            break
        along = product(direction)
        rate = size / (direction @ along)
        found, error = found + rate * direction, error - rate * along
        size, before = error @ error, size
        direction = error + size / before * direction
    return found


def line_search(
    tried: Callable[[float], tuple[float, float]], limit: float, shrink: float = 0.8, tries: int = 10
) -> float:
    """Return the largest share 1, s, s^2, … of a step that gains and keeps the divergence within `limit`; else 0.

    Args:
        tried: share -> (gain of the surrogate, divergence).
        limit: of the divergence (TRPO, arXiv 1502.05477, appendix C).
        shrink: s, in (0, 1).
        tries: how many.

    >>> line_search(lambda share: (1.0, share), limit=0.7)
    0.6400000000000001
    """
    share = 1.0
    for _ in range(tries):
        gain, far = tried(share)
        if gain > 0 and far <= limit:
            return share
        share *= shrink
    return 0.0
