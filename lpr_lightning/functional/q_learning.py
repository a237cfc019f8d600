"""Targets and losses of learning action values. R rows, A actions, Z atoms."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def greedy(value: Tensor, allowed: Tensor) -> Tensor:
    """Return the best allowed action, [...] int64, of values [..., A] and marks [..., A] bool.

    >>> greedy(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[False, True, True]]))
    tensor([2])
    """
    return value.masked_fill(~allowed, -torch.inf).argmax(-1)


def double_q_target(
    reward: Tensor, discount: Tensor, online: Tensor, target: Tensor, allowed: Tensor, double: bool = True
) -> Tensor:
    """Return r + gamma Q'(s', argmax_a Q(s', a)), [R] (van Hasselt et al. 2016, arXiv 1509.06461, eq. 4).

    Args:
        reward: [R], the n-step return.
        discount: gamma^n, 0 where the episode ended, [R].
        online: Q of the next state by the trained network, [R, A].
        target: Q' of the next state by the target network, [R, A].
        allowed: actions that may be taken there, [R, A] bool.
        double: if False, the target network also chooses (Mnih et al. 2015).

    >>> q, other = torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 3.0]])
    >>> double_q_target(torch.ones(1), torch.ones(1), q, other, torch.ones(1, 2).bool())
    tensor([4.])
    """
    best = greedy(online if double else target, allowed)
    return reward + discount * target.gather(1, best[:, None]).squeeze(1)


def td_loss(value: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean Huber loss of values [R], and the errors [R]; targets get no gradient.

    >>> td_loss(torch.tensor([0.0, 3.0]), torch.zeros(2), torch.ones(2))
    (tensor(1.2500), tensor([0., 3.]))
    """
    error = value - target.detach()
    loss = F.smooth_l1_loss(value, target.detach(), reduction="none")
    return (loss * weight).mean(), error.detach()


def projected(reward: Tensor, discount: Tensor, probability: Tensor, atoms: Tensor) -> Tensor:
    """Return the distribution of r + gamma Z on evenly spaced atoms, [R, Z] (Bellemare et al. 2017, algorithm 1).

    Each atom's probability is shared by the two atoms that its image lies between (arXiv 1707.06887, eq. 7).

    Args:
        reward: [R].
        discount: [R].
        probability: of the next state's atoms, [R, Z].
        atoms: their values, rising, [Z].

    >>> projected(torch.tensor([0.5]), torch.tensor([0.0]), torch.tensor([[0.3, 0.7]]), torch.tensor([0.0, 1.0]))
    tensor([[0.5000, 0.5000]])
    """
    step = atoms[1] - atoms[0]
    image = (reward[:, None] + discount[:, None] * atoms).clamp(atoms[0], atoms[-1])
    near = 1 - ((image[:, None] - atoms[:, None]).abs() / step)  # [R, to, from]
    return (near.clamp_min(0) * probability[:, None]).sum(2)


def atoms_loss(logit: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean cross-entropy of atoms' logits [R, Z] against distributions [R, Z], and its rows [R]."""
    rows = -(target.detach() * logit.log_softmax(1)).sum(1)
    return (rows * weight).mean(), rows.detach()


def explored(best: Tensor, allowed: Tensor, chance: Tensor, place: Tensor, epsilon: float) -> Tensor:
    """Return epsilon-greedy actions: where `chance` [R] is below epsilon, the allowed action at share `place` [R].

    >>> explored(torch.tensor([0, 0]), torch.ones(2, 4).bool(), torch.tensor([0.1, 0.9]), torch.tensor([0.6, 0.6]), 0.5)
    tensor([2, 0])
    """
    count = allowed.sum(1)
    rank = (place * count).long().minimum(count - 1)
    other = (allowed.cumsum(1) > rank[:, None]).to(torch.int8).argmax(1)
    return torch.where(chance < epsilon, other, best)
