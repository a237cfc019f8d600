"""Prerequisite graphs: reading them from a file, cleaning the edges and finding their cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lpr_lightning.datamodules.columns import unknown_concept
from lpr_lightning.datamodules.delimited import read_columns
from lpr_lightning.datamodules.source import existing_file
from lpr_lightning.errors import DataError, SettingError

COLUMNS = ("needed", "needing")
"""Of a file of prerequisites; other columns, such as the strength of an edge, are for readers."""


@dataclass(frozen=True)
class GivenPrerequisites:
    """Prerequisites that stand in the place of the data set's: `edges` [E, 2] int64, or None for none at all."""

    edges: Tensor | None

    @property
    def key(self) -> list[list[int]]:
        """JSON-able edges, the same for the same graph."""
        return [] if self.edges is None else self.edges.tolist()

    @classmethod
    def of(cls, file: str | None, left_out: bool, vocabulary: Mapping[str, int]) -> GivenPrerequisites | None:
        """Return what a datamodule's two arguments ask for; None where the data set's own prerequisites stay.

        Raises:
            SettingError: a file is given and prerequisites are to be left out.
            MissingFileError, DataError: see `read_edges`.
        """
        if file is None:
            return cls(None) if left_out else None
        if left_out:
            allowed = "none beside without_prerequisites"
            raise SettingError("prerequisites_file", file, allowed, "Give one of the two")
        edges = read_edges(file, vocabulary)
        return cls(edges if len(edges) else None)


def read_edges(path: str, vocabulary: Mapping[str, int]) -> Tensor:
    """Return the distinct edges (needed, needing) of a CSV file, [E, 2] int64, in ascending order.

    The columns `needed` and `needing` hold concepts by readable name or raw id; further columns are passed over. A
    file without a row below its header says that there are no prerequisites.

    Args:
        path: the file.
        vocabulary: number of each concept by its names.

    Raises:
        MissingFileError: the file is not there.
        DataError: a column is missing, a concept is unknown (the closest are named), or edges form a cycle.
    """
    columns = read_columns(existing_file(path, "prerequisites_file"), COLUMNS)
    cells = [columns.cells(name) for name in COLUMNS]
    for name, texts in zip(COLUMNS, cells, strict=True):
        for row, text in enumerate(texts):
            if text not in vocabulary:
                raise columns.error(name, row, unknown_concept(text, vocabulary))
    pairs = sorted({(vocabulary[a], vocabulary[b]) for a, b in zip(*cells, strict=True)})
    names = {vocabulary[text]: text for texts in cells for text in texts}
    edges = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    if bool((around := in_cycle(edges)).any()):
        cycle = " → ".join(names[concept] for concept in one_cycle(edges[around]))
        raise DataError(columns.file, f"the prerequisites form a cycle, {cycle}; leave one of these edges out")
    return edges


def one_cycle(edges: Tensor) -> list[int]:
    """Return the concepts of one cycle, the first again at its end; every edge [E, 2] lies on some cycle.

    >>> one_cycle(torch.tensor([[1, 2], [2, 1]]))
    [1, 2, 1]
    """
    after: dict[int, int] = dict(reversed(edges.tolist()))
    path = [int(edges[0, 0])]
    while path[-1] not in path[:-1]:
        path.append(after[path[-1]])
    return path[path.index(path[-1]) :]


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
