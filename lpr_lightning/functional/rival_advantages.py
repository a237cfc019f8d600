"""Advantages of several objectives by sums, products and standard scores: what dominance is held against.

Rewards are [B, K, M]: B groups of K paths, M objectives, larger is better. Groups whose paths are alike in every
objective get exactly 0 and are left out of statistics over the batch, so that they do not change what others get.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lpr_lightning.functional.advantage import group_zscore

Gather = Callable[[Tensor], Tensor]
"""Returns the rows of all processes; every process must call it."""


def equal_groups(reward: Tensor) -> Tensor:
    """Return True where the paths of a group are alike in every objective, up to rounding, [B] bool.

    >>> equal_groups(torch.tensor([[[1.0, 0.5], [1.0, 0.5]], [[1.0, 0.0], [1.0, 0.5]]]))
    tensor([ True, False])
    """
    span = reward.amax(1) - reward.amin(1)
    return (span <= 4 * torch.finfo(reward.dtype).eps * reward.abs().amax(1)).all(1)


def dr_grpo(reward: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the weighted sum of the rewards less its mean in the group, [B, K].

    Dr. GRPO (arXiv 2503.20783), section 3.2: no division by the standard deviation, which favours requests whose paths
    hardly differ. Its loss goes with it: `aggregation="dr_grpo"`.

    Args:
        reward: rewards, [B, K, M].
        weights: of the objectives, [M]; None weighs all alike.

    >>> dr_grpo(torch.tensor([[[1.0, 0.0], [0.0, 4.0], [2.0, 2.0]]]), torch.tensor([1.0, 0.5]))
    tensor([[-1.,  0.,  1.]])
    """
    score = _weighted(reward, weights)
    return (score - score.mean(1, keepdim=True)).masked_fill(equal_groups(score[..., None])[:, None], 0.0)


def mo_grpo(reward: Tensor) -> Tensor:
    """Return the sum of the objectives' standard scores in the group, [B, K].

    MO-GRPO (arXiv 2509.22047): each objective counts alike, however little it varies; one that is constant in a group
    counts nothing.

    Args:
        reward: rewards, [B, K, M].

    >>> mo_grpo(torch.tensor([[[1.0, 0.0], [2.0, 0.0], [3.0, 30.0]]]))
    tensor([[-1.5774, -0.5774,  2.1547]])
    """
    return group_zscore(reward.transpose(1, 2), 0.0).sum(1)


def gdpo(
    reward: Tensor, weights: Tensor | None = None, eps: float = 1e-4, gather: Gather = lambda rows: rows
) -> Tensor:
    """Return the weighted sum of standard scores in the group, standardised once more over the batch, [B, K].

    GDPO (arXiv 2601.05242): Z = sum over k of w_k (r_k - mean) / (std + eps), then (Z - mean of the batch) / (std of
    the batch + eps), both with the sample's standard deviation.

    Differs from the paper: groups of equal rewards get 0 and count in neither mean nor deviation of the batch.

    Args:
        reward: rewards, [B, K, M].
        weights: of the objectives, [M]; None weighs all alike.
        eps: added to the standard deviations.
        gather: puts the values of all processes together, over which the batch is standardised.

    >>> gdpo(torch.tensor([[[0.0], [1.0]], [[5.0], [5.0]]]), eps=0.0)
    tensor([[-0.7071,  0.7071],
            [ 0.0000,  0.0000]])
    """
    decoupled = _weighted(group_zscore(reward.transpose(1, 2), eps).transpose(1, 2), weights)
    varied = ~equal_groups(reward)
    batch = gather(decoupled[varied].flatten()).double()
    if len(batch) < 2:
        return torch.zeros_like(decoupled)
    mean, deviation = batch.mean().to(decoupled), batch.std().to(decoupled) + eps
    return torch.where(varied[:, None], (decoupled - mean) / deviation, 0.0)


def hvo(reward: Tensor, margin: float = 0.1, eps: float = 1e-4, gather: Gather = lambda rows: rows) -> Tensor:
    """Return the standard score in the group of each path's box above the worst of the batch, [B, K].

    HVO (arXiv 2510.19325): R = product over k of (r_k - ref_k), ref_k = the least r_k of the whole batch less `margin`,
    standardised within the group. A box of one path, not what it adds to the volume of its set. Weights of objectives
    would cancel, so there are none.

    Differs from the paper: groups of equal rewards get 0 and do not count in the worst of the batch.

    Args:
        reward: rewards, [B, K, M].
        margin: how far the reference lies below the worst, above 0.
        eps: added to the standard deviation.
        gather: puts the values of all processes together, among which the worst is found.

    >>> hvo(torch.tensor([[[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]]), margin=1.0, eps=0.0)
    tensor([[-1.,  0.,  1.]])
    """
    varied = ~equal_groups(reward)
    batch = gather(reward[varied].flatten(0, 1))
    if not len(batch):
        return torch.zeros_like(reward[..., 0])
    volume = (reward - (batch.amin(0) - margin)).prod(-1)
    return torch.where(varied[:, None], group_zscore(volume, eps), 0.0)


def _weighted(value: Tensor, weights: Tensor | None) -> Tensor:
    """Return the weighted sum over the last axis."""
    return (value if weights is None else value * weights.to(value)).sum(-1)
