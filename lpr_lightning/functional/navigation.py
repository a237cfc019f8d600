"""Which concepts may follow a concept in cognitive navigation."""

from __future__ import annotations

import torch
from torch import Tensor


def neighbourhood(needs: Tensor, hops: int) -> Tensor:
    """Return True where concept j may follow concept c, [N, N] bool, row c and column j (CSEAL, cognitive navigation).

    These are c itself, what needs it, what it needs within `hops` steps, and what needs those.

    Args:
        needs: the direct prerequisites, [N, N] bool, row c and column j.
        hops: how far back prerequisites are looked for, at least 0.

    >>> needs = torch.zeros(4, 4, dtype=torch.bool)
    >>> needs[1, 0] = needs[2, 1] = needs[3, 2] = True  # 0 before 1 before 2 before 3
    >>> neighbourhood(needs, 1).int()
    tensor([[1, 1, 0, 0],
            [1, 1, 1, 0],
            [0, 1, 1, 1],
            [0, 0, 1, 1]], dtype=torch.int32)
    """
    step = needs.float()
    reached = torch.eye(len(needs), device=needs.device)
    for _ in range(hops):
        reached = ((reached + reached @ step) > 0).float()
    return (reached + reached @ step.T) > 0
