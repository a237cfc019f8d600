"""The prerequisite graph that policies and searches look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.prerequisites import ancestors, direct_prerequisites
from lpr_lightning.protocols import LearnerData

Edges = tuple[tuple[int, int], ...]


@dataclass
class PrerequisiteGraph:
    """Which concepts a concept builds on: edges that are given, else those of the data.

    Args:
        edges: pairs (needed, needing) of concept numbers. None: those of the data, by `connect`; none before it, and
            none where the data set has no graph.

    Raises:
        SettingError: an edge is no pair of concept numbers.

    >>> PrerequisiteGraph([(0, 1), (1, 2)]).ancestors(3, torch.device("cpu")).nonzero().tolist()
    [[1, 0], [2, 0], [2, 1]]
    """

    edges: Sequence[Sequence[int]] | None = None

    def __post_init__(self) -> None:
        if self.edges is not None:
            if any(len(edge) != 2 or min(edge) < 0 for edge in self.edges):
                raise SettingError("edges", self.edges, "pairs (needed, needing) of concept numbers")
            self.edges = tuple((int(edge[0]), int(edge[1])) for edge in self.edges)

    def connect(self, data: LearnerData) -> None:
        """Take the edges of the data, unless edges were given."""
        if self.edges is None and data.prerequisites is not None:
            self.edges = tuple((before, after) for before, after in data.prerequisites.tolist())

    def needs(self, num_concepts: int, device: torch.device) -> Tensor:
        """Return True where concept c (row) directly needs concept j, [N, N] bool."""
        return _matrices(self._pairs(), num_concepts)[0].to(device)

    def ancestors(self, num_concepts: int, device: torch.device) -> Tensor:
        """Return True where concept c (row) builds on concept j, [N, N] bool."""
        return _matrices(self._pairs(), num_concepts)[1].to(device)

    def closure(self, num_concepts: int, device: torch.device) -> Tensor:
        """Return True where concept j is concept c (row) or an ancestor of it, [N, N] bool."""
        itself = torch.eye(num_concepts, dtype=torch.bool, device=device)
        return self.ancestors(num_concepts, device) | itself

    def _pairs(self) -> Edges:
        return tuple((edge[0], edge[1]) for edge in self.edges or ())


@lru_cache(maxsize=16)
def _matrices(edges: Edges, num_concepts: int) -> tuple[Tensor, Tensor]:
    highest = max((max(edge) for edge in edges), default=-1)
    if highest >= num_concepts:
        raise SettingError("edges", highest, f"concept numbers below {num_concepts}", "give the graph of the same data")
    needs = direct_prerequisites(torch.tensor(edges, dtype=torch.int64).reshape(-1, 2), num_concepts)
    return needs, ancestors(needs)
