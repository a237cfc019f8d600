"""Scores of exercise recommendation: what was gained, and how much could have been (ExRec, appendix D)."""

from __future__ import annotations

import torch
from torch import Tensor


def target_gain(before: Tensor, after: Tensor, concept: Tensor, repeats: bool = False) -> tuple[Tensor, Tensor]:
    """Return the mean gain on targeted concepts, and the gain that was attainable, [B] each.

    Gain: eq. 24, and 25 with the union of the concepts that a goal chose from step to step: the mean over them of
    mastery after less mastery before. Attainable: 1 less the mean mastery before.

    Differs from the paper:
    1. The authors' code takes the mean over all choices, a concept as often as it was chosen: `repeats`.

    Args:
        before: mastery of all concepts before, [B, N] in [0, 1].
        after: the same after, [B, N].
        concept: concepts chosen at one step or several, [B, S] int64, -1 where unused.
        repeats: count a concept as often as it was chosen, as the authors' code does; else once, as the paper.

    >>> before, after = torch.tensor([[0.5, 0.2]]), torch.tensor([[0.7, 0.2]])
    >>> gain, most = target_gain(before, after, torch.tensor([[0, 0, 1]]))
    >>> round(float(gain), 3), round(float(most), 3)
    (0.1, 0.65)
    >>> round(float(target_gain(before, after, torch.tensor([[0, 0, 1]]), repeats=True)[0]), 3)
    0.133
    """
    times = torch.zeros(len(concept), before.shape[1] + 1, device=before.device)
    times = times.scatter_add(1, concept + 1, torch.ones_like(concept, dtype=times.dtype))[:, 1:]
    times = times if repeats else (times > 0).to(times)
    share = times / times.sum(1, keepdim=True).clamp_min(1)
    return (share * (after - before)).sum(1), (share * (1 - before)).sum(1)


def share_of_attainable(gain: Tensor, attainable: Tensor) -> Tensor:
    """Return the mean gain over the mean attainable gain, a scalar; the paper reports 100 times it.

    It is the ratio of the means, not the mean of the ratios, in which learners with little left to learn would weigh
    most. 0 where nothing is attainable.

    >>> share_of_attainable(torch.tensor([0.1, 0.2]), torch.tensor([0.2, 0.4]))
    tensor(0.5000)
    """
    most = attainable.sum()
    return torch.where(most > 0, gain.sum() / most.clamp_min(torch.finfo(most.dtype).tiny), 0.0)
