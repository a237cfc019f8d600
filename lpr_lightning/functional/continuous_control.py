"""Targets and losses of actor-critic methods with continuous actions: SAC, DDPG, TD3."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize


def soft_target(
    reward: Tensor, following: Tensor, log_prob: Tensor, temperature: Tensor | float, gamma: float, ended: Tensor
) -> Tensor:
    """Return what twin critics are trained to (Haarnoja et al. 2018): r + gamma (min Q' - temperature log pi').

    Args:
        reward: [B].
        following: the target critics' values of the next state with an action of the policy, [2, B] (or [1, B]).
        log_prob: of that action, [B].
        temperature: of the entropy.
        gamma: discount.
        ended: whether the step was an episode's last, [B] bool; nothing follows then.

    >>> import torch
    >>> following, ended = torch.tensor([[2.0, 2.0], [3.0, 1.0]]), torch.tensor([False, True])
    >>> soft_target(torch.ones(2), following, torch.tensor([-1.0, -1.0]), 0.5, 0.5, ended)
    tensor([2.2500, 1.0000])
    """
    value = following.amin(0) - temperature * log_prob
    return reward + gamma * value.masked_fill(ended, 0.0)


def deterministic_target(reward: Tensor, following: Tensor, gamma: float, ended: Tensor) -> Tensor:
    """Return the target of DDPG and TD3: r + gamma times the least of the target critics' values [C, B].

    >>> import torch
    >>> deterministic_target(torch.ones(1), torch.tensor([[2.0], [3.0]]), 0.5, torch.tensor([False]))
    tensor([2.])
    """
    return reward + gamma * following.amin(0).masked_fill(ended, 0.0)


def critic_loss(value: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each critic [C, B] against the targets [B], summed over critics.

    >>> import torch
    >>> critic_loss(torch.tensor([[1.0, 3.0], [2.0, 2.0]]), torch.tensor([1.0, 1.0]))
    tensor(3.)
    """
    return (value - target).square().mean(1).sum()


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
