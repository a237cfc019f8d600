"""Answers on several concepts, each combination once."""

from __future__ import annotations

import torch
from torch import Tensor


def concept_sets(concept: Tensor, num_concepts: int, correct: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Return the combinations [U, C] that occur in `concept` [S, C], and where each row's lies among them, [S].

    With `correct` [S], 0 or 1, the last column of the combinations holds the answer. Where numbering the combinations
    would overflow, the rows themselves and None are returned.

    >>> sets, rows = concept_sets(torch.tensor([[2, -1], [0, 1], [2, -1]]), 3)
    >>> sets.tolist(), rows.tolist()
    ([[0, 1], [2, -1]], [1, 0, 1])
    """
    if correct is not None:
        concept = torch.cat([concept, correct.long()[:, None]], 1)
    base = num_concepts + 1
    if base ** concept.shape[1] >= 2**62:
        return concept, None
    number = torch.zeros_like(concept[:, 0])
    for column in concept.unbind(1):
        number = number * base + column + 1
    distinct, rows = torch.unique(number, return_inverse=True)
    columns = []
    for _ in range(concept.shape[1]):
        columns.append(distinct % base - 1)
        distinct = distinct.div(base, rounding_mode="floor")
    return torch.stack(columns[::-1], 1), rows


def mean_rows(table: Tensor, concept: Tensor) -> Tensor:
    """Return the mean of the rows of `table` [N, D] over each row's concepts [U, C], zero where there is none.

    >>> mean_rows(torch.tensor([[1.0], [3.0]]), torch.tensor([[0, 1], [1, -1], [-1, -1]])).tolist()
    [[2.0], [3.0], [0.0]]
    """
    known = (concept >= 0).to(table.dtype)
    weight = known / known.sum(1, keepdim=True).clamp_min(1)
    rows = table.index_select(0, concept.clamp_min(0).flatten()).view(*concept.shape, table.shape[1])
    return (rows * weight[..., None]).sum(1)
