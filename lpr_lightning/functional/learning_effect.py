"""How much of what could be learnt was learnt."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.functional.masked_mean import masked_mean


def learning_effect_defined(before: Tensor, maximum: Tensor) -> Tensor:
    """Return True where there was something to learn, E_sup > E_s, [B] bool.

    >>> learning_effect_defined(torch.tensor([1.0, 3.0]), torch.tensor([3.0, 3.0]))
    tensor([ True, False])
    """
    return maximum > before


def learning_effect(before: Tensor, after: Tensor, maximum: Tensor) -> Tensor:
    """Return the share of the missing exam score that was gained, [B].

    IB-GRPO (arXiv 2601.14686), eq. 1: E_p = (E_e - E_s) / (E_sup - E_s). Not clamped: it ends at 1 upwards, and with
    one missing point out of n it may fall to -(n - 1). 0 where `learning_effect_defined` is False.

    Args:
        before: exam score E_s before the path, [B].
        after: exam score E_e after the path, [B].
        maximum: best possible score E_sup, [B].

    >>> before, after, maximum = torch.tensor([[1.0, 4.0, 5.0], [3.0, 0.0, 5.0], [5.0, 5.0, 5.0]])
    >>> learning_effect(before, after, maximum)
    tensor([ 0.5000, -4.0000,  0.0000])
    """
    defined = learning_effect_defined(before, maximum)
    missing = torch.where(defined, maximum - before, 1.0)
    return torch.where(defined, (after - before) / missing, 0.0)


def soft_gain(before: Tensor, after: Tensor, targets: Tensor, least_missing: float = 0.01) -> Tensor:
    """Return the share of the missing mean mastery of the targets that was gained, [B].

    Ours, not the paper's: a dense companion of eq. 1, (after - before) / (1 - before) of the mean over the targets. A
    divisor under `least_missing` counts as `least_missing`, so that learners who master all do not give boundless
    values. 0 where there are no targets.

    Args:
        before: mastery before the path, [B, N] in [0, 1].
        after: mastery after the path, [B, N] in [0, 1].
        targets: the target concepts, [B, N] bool.
        least_missing: smallest divisor.

    >>> soft_gain(torch.tensor([[0.2, 0.9]]), torch.tensor([[0.6, 0.1]]), torch.tensor([[True, False]]))
    tensor([0.5000])
    """
    start, end = masked_mean(before, targets, 1), masked_mean(after, targets, 1)
    gain = (end - start) / (1 - start).clamp_min(least_missing)
    return torch.where(targets.any(1), gain, 0.0)
