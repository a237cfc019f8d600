"""Prerequisite graphs: cleaning the edges and finding their cycles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def clean_edges(edges: Sequence[tuple[int, int]]) -> tuple[Tensor, dict[str, int]]:
    """Return the distinct edges (before, after) as [E, 2] int64, and what was found on the way.

    An edge from a concept to itself is dropped; edges within a cycle stay, but are counted: whoever needs an order of
    concepts must break them.

    >>> clean_edges([(0, 1), (1, 2), (1, 1), (2, 1), (0, 1)])
    (tensor([[0, 1],
            [1, 2],
            [2, 1]]), {'prerequisites': 3, 'prerequisites dropped: self loop': 1, 'prerequisites within a cycle': 2})
    """
    distinct = sorted(set(edges))
    proper = [edge for edge in distinct if edge[0] != edge[1]]
    tensor = torch.tensor(proper, dtype=torch.int64).reshape(-1, 2)
    return tensor, {
        "prerequisites": len(proper),
        "prerequisites dropped: self loop": len(distinct) - len(proper),
        "prerequisites within a cycle": int(in_cycle(tensor).sum()),
    }


def in_cycle(edges: Tensor) -> Tensor:
    """True on the edges [E, 2] that lie on a cycle, [E] bool.

    >>> in_cycle(torch.tensor([[0, 1], [1, 2], [2, 1], [2, 3]]))
    tensor([False,  True,  True, False])
    """
    pairs = [(a, b) for a, b in edges.tolist()]
    ahead = _without_sources(pairs)
    left = np.array([(a, b) for b, a in _without_sources([(b, a) for a, b in ahead])], np.int64).reshape(-1, 2)
    nodes = np.unique(left)
    reach = np.zeros((len(nodes), len(nodes)), bool)
    place = np.searchsorted(nodes, left)
    reach[place[:, 0], place[:, 1]] = True
    for middle in range(len(nodes)):
        reach |= reach[:, middle : middle + 1] & reach[middle]
    back = {(int(nodes[a]), int(nodes[b])) for a, b in place if reach[b, a]}
    return torch.tensor([(a, b) in back for a, b in pairs], dtype=torch.bool)


def _without_sources(edges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Remove every concept that nothing leads to, again and again; return the edges that are left."""
    after: dict[int, list[int]] = {}
    waiting: dict[int, int] = {}
    for a, b in edges:
        after.setdefault(a, []).append(b)
        waiting[b] = waiting.get(b, 0) + 1
    gone = [a for a in after if a not in waiting]
    for a in gone:  # grows while it is walked
        for b in after.get(a, []):
            waiting[b] -= 1
            if not waiting[b]:
                gone.append(b)
    taken = set(gone)
    return [(a, b) for a, b in edges if a not in taken]
