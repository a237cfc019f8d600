"""What a graph of prerequisites says about concepts: needs[c, j] is True where concept j is a prerequisite of c."""

from __future__ import annotations

import torch
from torch import Tensor


def needs_of(edges: Tensor | None, num_concepts: int) -> Tensor:
    """Return the graph of edges (before, after) [E, 2] as a matrix [N, N] bool; empty for None.

    >>> needs_of(torch.tensor([[0, 1]]), 2)
    tensor([[False, False],
            [ True, False]])
    """
    needs = torch.zeros(num_concepts, num_concepts, dtype=torch.bool)
    if edges is not None:
        needs[edges[:, 1], edges[:, 0]] = True
    return needs


def ancestors_of(needs: Tensor) -> Tensor:
    """Return for each concept its prerequisites, theirs, and so on, [N, N] bool; in a cycle no concept is its own.

    >>> ancestors_of(needs_of(torch.tensor([[0, 1], [1, 2]]), 3))[2]
    tensor([ True,  True, False])
    """
    reached, before = needs, torch.zeros_like(needs)
    while not torch.equal(reached, before):
        before = reached
        reached = before | (before.float() @ before.float() > 0)
    return reached & ~torch.eye(len(needs), dtype=torch.bool, device=needs.device)


def weakest(mastery: Tensor, needs: Tensor) -> Tensor:
    """Return the least mastery [B, N] among what each concept needs, 1 where it needs nothing.

    >>> weakest(torch.tensor([[0.2, 0.6, 0.9]]), needs_of(torch.tensor([[0, 2], [1, 2], [0, 1]]), 3))
    tensor([[1.0000, 0.2000, 0.2000]])
    """
    most = int(needs.sum(1).max())
    if not most:
        return torch.ones_like(mastery)
    needed, place = needs.to(torch.int8).topk(most, dim=1)
    return mastery[:, place].masked_fill(needed == 0, 1.0).amin(2)
