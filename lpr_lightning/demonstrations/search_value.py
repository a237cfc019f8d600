"""What searches maximise."""

from __future__ import annotations

from torch import Tensor

from lpr_lightning.functional.learning_effect import learning_effect

PASSED_WEIGHT = 0.3
TIE_BREAK = 1e-3


def search_value(mastery: Tensor, score: Tensor, best: Tensor) -> Tensor:
    """Return mean target mastery plus 0.3 times the share of the exam passed; guides a search on its way.

    >>> import torch
    >>> search_value(torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([2.0]))
    tensor([0.6500])
    """
    return mastery + PASSED_WEIGHT * score / best.clamp_min(1.0)


def fitness(mastery: Tensor, before: Tensor, score: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """Return what ranks whole paths, and their learning effect: the first is the second plus a small tie-break.

    The tie-break is a thousandth of `search_value`, less than one target is worth even among 500.

    >>> import torch
    >>> fitness(torch.tensor([0.5]), torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([2.0]))
    (tensor([0.5006]), tensor([0.5000]))
    """
    effect = learning_effect(before, score, best)
    return effect + TIE_BREAK * search_value(mastery, score, best), effect
