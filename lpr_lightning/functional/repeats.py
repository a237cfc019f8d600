"""How often a path repeats its concepts: counted, expected, and as losses that have a gradient.

A path's steps are drawn from distributions p_1 … p_L over concepts. The number of repeats L - |unique| has no
gradient (arXiv 2507.05295, eq. 7, leaves open how it is trained). Two functions of the distributions stand in for it:
`expected_repeats` <= `pairwise_repeats`, both equal to the count where every p is one-hot and no concept comes more
than twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.types import PAD


def hard_repeats(path: Tensor) -> Tensor:
    """Return the number of steps that repeat an earlier concept of their path, L - |unique|, [B] int64.

    Args:
        path: concepts, [B, L] int64, -1 where there is no step.

    >>> hard_repeats(torch.tensor([[4, 4, 2, 4], [1, 2, -1, -1]]))
    tensor([2, 0])
    """
    if path.shape[1] == 0:
        return path.new_zeros(len(path))
    ordered = path.sort(1).values
    return ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != PAD)).sum(1)


def pairwise_repeats(probability: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the expected number of pairs of steps that meet on one concept, sum_{s<t} <p_s, p_t>, [B].

    An upper bound of the expected count, in O(L N): half of |sum p|^2 - sum |p|^2. The more steps agree on a concept
    the harder it pushes each of them away, which is why it is the one to train with.

    Args:
        probability: of each concept at each step, [B, L, N]; every real step sums to 1.
        mask: True on real steps, [B, L] bool; None takes all.

    >>> pairwise_repeats(torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]]))
    tensor([2.])
    """
    probability = _real(probability, mask)
    return (probability.sum(1).square().sum(-1) - probability.square().sum((1, 2))) / 2


def expected_repeats(probability: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the exact expectation of L - |unique| over independent steps, [B].

    L - sum_c [1 - prod_t (1 - p_tc)]. One meeting counts as much as many, so that a path stuck on one concept is hardly
    pushed off it: this is reported, not trained with.

    Args:
        probability: as for `pairwise_repeats`.
        mask: as for `pairwise_repeats`.

    >>> expected_repeats(torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]]))
    tensor([1.5000])
    """
    probability = _real(probability, mask)
    return (probability.sum(1) - 1 + (1 - probability).prod(1)).sum(-1)


def excess_repeats(repeats: Tensor, label: Tensor) -> Tensor:
    """Return by how much `repeats` [B] exceed those of the logged path `label` [B, L], never below 0, [B].

    So that repeats that learners really make are not held against a path that foresees them.

    >>> excess_repeats(torch.tensor([2.5, 0.5]), torch.tensor([[3, 3, 1], [3, 3, 1]]))
    tensor([1.5000, 0.0000])
    """
    return torch.relu(repeats - hard_repeats(label))


def _real(probability: Tensor, mask: Tensor | None) -> Tensor:
    return probability if mask is None else probability.masked_fill(~mask[..., None], 0.0)
