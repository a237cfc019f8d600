"""Attention of concepts over the concepts that they are related to."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SLOPE = 0.2
"""Of the leaky rectifier below 0, as in graph attention networks."""


def relation_attention(query: Tensor, key: Tensor, weight: Tensor) -> Tensor:
    """Return how much each concept attends to each related one, [N, N]; rows sum to 1, or are 0 without relations.

    softmax over b of LeakyReLU(query_a + key_b) + log w_ab, over the b with w_ab > 0 (Velickovic et al. 2018, eq. 3,
    with a^T [W e_a ; W e_b] cut into its two halves).

    Differs from the paper: a relation has a weight, which multiplies what attention gives to it.

    Args:
        query: of each concept a, [N].
        key: of each concept b, [N].
        weight: w_ab in [0, 1], [N, N]; 0 where a is not related to b.

    >>> relation_attention(torch.zeros(3), torch.zeros(3), torch.tensor([[0.0, 1.0, 0.5], [0.0, 0, 0], [1.0, 0, 0]]))
    tensor([[0.0000, 0.6667, 0.3333],
            [0.0000, 0.0000, 0.0000],
            [1.0000, 0.0000, 0.0000]])
    """
    related = weight > 0
    score = F.leaky_relu(query[:, None] + key, SLOPE) + weight.clamp_min(torch.finfo(weight.dtype).tiny).log()
    score = score.masked_fill(~related, -torch.inf)
    some = related.any(1, keepdim=True)
    return torch.where(some, score, 0.0).softmax(1) * some
