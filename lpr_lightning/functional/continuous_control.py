"""Targets and losses of actor-critic methods with continuous actions: SAC, DDPG, TD3."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import normalize


def soft_target(
    reward: Tensor, following: Tensor, log_prob: Tensor, temperature: Tensor | float, discount: Tensor
) -> Tensor:
    """Return what twin critics are trained to (Haarnoja et al. 2018): r + gamma (min Q' - temperature log pi').

    Args:
        reward: [B].
        following: the target critics' values of the next state with an action of the policy, [2, B] (or [1, B]).
        log_prob: of that action, [B].
        temperature: of the entropy.
        discount: gamma, 0 where the step was its episode's last, [B].

    >>> import torch
    >>> following, discount = torch.tensor([[2.0, 2.0], [3.0, 1.0]]), torch.tensor([0.5, 0.0])
    >>> soft_target(torch.ones(2), following, torch.tensor([-1.0, -1.0]), 0.5, discount)
    tensor([2.2500, 1.0000])
    """
    return reward + discount * (following.amin(0) - temperature * log_prob)


def deterministic_target(reward: Tensor, following: Tensor, discount: Tensor) -> Tensor:
    """Return the target of DDPG and TD3: r + gamma times the least of the target critics' values [C, B].

    >>> import torch
    >>> deterministic_target(torch.ones(1), torch.tensor([[2.0], [3.0]]), torch.tensor([0.5]))
    tensor([2.])
    """
    return reward + discount * following.amin(0)


def critic_loss(value: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean squared error of each critic [C, B] against the targets [B], summed over critics.

    Args:
        value: [C, B].
        target: [B].
        weight: of each row, which corrects for priorities, [B].

    >>> import torch
    >>> critic_loss(torch.tensor([[1.0, 3.0], [2.0, 2.0]]), torch.tensor([1.0, 1.0]))
    tensor(3.)
    """
    squared = (value - target).square()
    return (squared if weight is None else squared * weight).mean(1).sum()


def soft_actor_loss(value: Tensor, log_prob: Tensor, temperature: Tensor | float) -> Tensor:
    """Return the mean of temperature log pi - min Q, for actions of the policy; `value` [C, B].

    >>> import torch
    >>> soft_actor_loss(torch.tensor([[1.0], [2.0]]), torch.tensor([-1.0]), 0.5)
    tensor(-1.5000)
    """
    return (temperature * log_prob - value.amin(0)).mean()


def temperature_loss(log_temperature: Tensor, log_prob: Tensor, wanted: float) -> Tensor:
    """Return the loss by which the temperature grows where the entropy -log pi is below what is wanted.

    Source: Haarnoja et al. 2018, *Soft Actor-Critic Algorithms and Applications*, eq. 18, in the logarithm of the
    temperature, as implementations have it.

    >>> import torch
    >>> temperature_loss(torch.tensor(0.5), torch.tensor([1.0, 3.0]), wanted=1.0)
    tensor(-1.5000)
    """
    return -log_temperature * (log_prob.detach() + wanted).mean()


def smoothed(direction: Tensor, noise: Tensor, scale: float, clip: float) -> Tensor:
    """Return directions moved by clipped noise and projected back (TD3's target policy smoothing, on the sphere).

    Noise of each coordinate has standard deviation `scale` / sqrt(D), and is clipped at `clip` / sqrt(D), so that the
    whole vector moves by about `scale`, whatever its size.

    Args:
        direction: of length 1, [B, D].
        noise: standard normal, [B, D].
        scale: length of the move.
        clip: where it is cut.

    >>> import torch
    >>> smoothed(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 9.0]]), 0.5, 1.0)
    tensor([[0.8165, 0.5774]])
    """
    width = direction.shape[-1] ** 0.5
    return normalize(direction + (scale * noise).clamp(-clip, clip) / width, dim=-1)


def sphere_entropy(size: int, length: float) -> float:
    """Return the entropy of noise that moves a direction of `size` coordinates by about `length`.

    That of a normal distribution in the D - 1 coordinates of the sphere, of standard deviation length / sqrt(D) each.

    >>> round(sphere_entropy(2, 1.0), 4)  # one coordinate, of standard deviation sqrt(1 / 2)
    1.0724
    """
    return 0.5 * (size - 1) * (math.log(2 * math.pi * math.e) + 2 * math.log(length) - math.log(size))
