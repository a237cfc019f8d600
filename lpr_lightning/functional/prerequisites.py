"""Which concepts a concept builds on."""

from __future__ import annotations

import torch
from torch import Tensor


def direct_prerequisites(edges: Tensor, num_concepts: int) -> Tensor:
    """Return True where concept c needs concept j, [N, N] bool, row c and column j.

    Args:
        edges: (needed, needing), [E, 2] int64.
        num_concepts: N.

    >>> direct_prerequisites(torch.tensor([[0, 1]]), 2)
    tensor([[False, False],
            [ True, False]])
    """
    needs = torch.zeros(num_concepts, num_concepts, dtype=torch.bool, device=edges.device)
    needs[edges[:, 1], edges[:, 0]] = True
    return needs


def ancestors(needs: Tensor) -> Tensor:
    """Return True where concept c builds on concept j, directly or by way of others, [N, N] bool.

    A concept is no ancestor of itself, not even where edges form a cycle.

    Args:
        needs: the direct prerequisites, [N, N] bool, row c and column j.

    >>> ancestors(direct_prerequisites(torch.tensor([[0, 1], [1, 2]]), 3))[2]
    tensor([ True,  True, False])
    """
    reached = needs
    while True:  # paths of twice the length each time
        product = reached.float() @ reached.float()
        further = reached | (product > 0)
        if torch.equal(further, reached):
            return reached & ~torch.eye(len(needs), dtype=torch.bool, device=needs.device)
        reached = further
