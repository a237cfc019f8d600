"""What later rewards are worth now: n-step returns and generalised advantages.

R rows, L steps; the horizon's end is terminal.
"""

from __future__ import annotations

import torch
from torch import Tensor


def n_step_return(
    reward: Tensor, length: Tensor, place: Tensor, steps: int, discount: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rewards of the next n steps, discounted, where they lead, and the discount of the value there.

    G = sum over k < m of gamma^k r_{t+k} with m = min(n, T - t) (Sutton and Barto 2018, eq. 7.1 without the value); the
    discount is gamma^m, 0 where t + m = T, the end of the episode.

    Args:
        reward: [R, L].
        length: T, steps of each episode, [R] int64.
        place: t [R] int64, below `length`.
        steps: n, at least 1.
        discount: gamma in [0, 1].

    >>> n_step_return(torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([3]), torch.tensor([0]), 2, 0.5)
    (tensor([2.]), tensor([2]), tensor([0.2500]))
    """
    ahead = torch.arange(reward.shape[1], device=reward.device) - place[:, None]
    counted = (ahead >= 0) & (ahead < steps) & (ahead + place[:, None] < length[:, None])
    total = (reward * counted * discount ** ahead.clamp(0, steps)).sum(1)
    end = (place + steps).minimum(length)
    return total, end, torch.where(end < length, discount ** (end - place).to(reward), 0.0)


def generalised_advantage(reward: Tensor, value: Tensor, mask: Tensor, discount: float, trace: float) -> Tensor:
    """Return the generalised advantage estimates [R, L] (Schulman et al. 2016, arXiv 1506.02438, eq. 16).

    A_t = d_t + gamma lambda A_{t+1} with d_t = r_t + gamma V_{t+1} - V_t; behind an episode's last step V and A are 0.

    Args:
        reward: [R, L].
        value: V of the states before each step, [R, L].
        mask: True on the steps of an episode, which come first, [R, L] bool.
        discount: gamma in [0, 1].
        trace: lambda in [0, 1]; 0 trusts the value alone, 1 the rewards alone.

    >>> generalised_advantage(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]]), torch.ones(1, 2).bool(), 1.0, 1.0)
    tensor([[0.5000, 0.5000]])
    """
    value, reward = value * mask, reward * mask
    later = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], 1) if value.shape[1] else value
    error = reward + discount * later - value
    advantage, found = torch.zeros_like(reward[:, 0]) if reward.shape[1] else reward.new_zeros(len(reward)), []
    for step in range(reward.shape[1] - 1, -1, -1):
        advantage = error[:, step] + discount * trace * advantage
        found.append(advantage)
    return torch.stack(found[::-1], 1) * mask if found else reward
