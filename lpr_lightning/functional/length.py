"""Whether a path is as long as was wanted."""

from __future__ import annotations

import torch
from torch import Tensor


def default_tolerance(wanted: Tensor) -> Tensor:
    """Return the deviation that goes unpunished: 0 up to 5 wanted steps, 1 up to 10, 2 above. Ours.

    >>> default_tolerance(torch.tensor([5, 10, 20]))
    tensor([0, 1, 2])
    """
    return (wanted > 5).long() + (wanted > 10).long()


def length_reward(
    length: Tensor,
    wanted: Tensor,
    tolerance: int | Tensor | None = None,
    penalty: float | None = None,
    stopped: Tensor | None = None,
) -> Tensor:
    """Return 1 within the tolerance and a linear penalty, from 0 downwards, outside it, [B].

    IB-GRPO (arXiv 2601.14686), eq. 3.

    Differs from the paper:
        1. It states neither tau nor lambda; the defaults are ours.
        2. A path that stopped because every target was mastered may be shorter than was wanted.

    Args:
        length: steps of each path, [B].
        wanted: steps asked for, L_target, [B].
        tolerance: tau; None takes `default_tolerance`.
        penalty: lambda, the loss per step outside the tolerance; None takes 1 / L_target of each row.
        stopped: True where the episode ended early because every target was mastered, [B] bool; None: nowhere.

    >>> length_reward(torch.tensor([5, 4, 0]), torch.tensor([5, 5, 5]))
    tensor([ 1.0000, -0.2000, -1.0000])
    >>> length_reward(torch.tensor([3, 3]), torch.tensor([10, 10]), stopped=torch.tensor([True, False]))
    tensor([ 1.0000, -0.6000])
    """
    tau = default_tolerance(wanted) if tolerance is None else tolerance
    excess = (_deviation(length, wanted, stopped) - tau).to(torch.get_default_dtype())
    rate = 1 / wanted.clamp_min(1).to(excess.dtype) if penalty is None else penalty
    return torch.where(excess <= 0, 1.0, -rate * excess)


def length_score(length: Tensor, wanted: Tensor, stopped: Tensor | None = None) -> Tensor:
    """Return how well each length fits the wanted one, [B] in [0, 1].

    IB-GRPO (arXiv 2601.14686), eq. 13: max(0, 1 - |length - wanted| / wanted). A wanted length of 0 counts as 1 in
    the divisor. Differs from the paper: a path that stopped because every target was mastered may be shorter.

    Args:
        length: steps of each path, [B].
        wanted: steps asked for, [B].
        stopped: as for `length_reward`.

    >>> length_score(torch.tensor([5, 4, 20]), torch.tensor([5, 5, 5]))
    tensor([1.0000, 0.8000, 0.0000])
    """
    deviation = _deviation(length, wanted, stopped).to(torch.get_default_dtype())
    return (1 - deviation / wanted.clamp_min(1)).clamp_min(0)


def _deviation(length: Tensor, wanted: Tensor, stopped: Tensor | None) -> Tensor:
    """Return the steps too many or too few, [B]; steps left out by a path that stopped do not count."""
    deviation = length - wanted
    return deviation.abs() if stopped is None else torch.where(stopped, deviation.clamp_min(0), deviation.abs())
