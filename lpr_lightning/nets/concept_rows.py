"""Rows of a table for answers on several concepts: their mean, and each combination once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.types import PAD


def mean_rows(table: Tensor, concept: Tensor) -> Tensor:
    """Return the mean of the rows of `table` [N, D] at `concept` [..., C]; -1 is left out, without any it is zero.

    >>> mean_rows(torch.tensor([[1.0], [3.0]]), torch.tensor([[0, 1], [1, -1], [-1, -1]])).tolist()
    [[2.0], [3.0], [0.0]]
    """
    used = concept >= 0
    if concept.shape[-1] == 1:
        return F.embedding(concept[..., 0].clamp_min(0), table).mul_(used.to(table.dtype))
    weight = used.to(table.dtype) / used.sum(-1, keepdim=True).clamp_min(1)
    return (F.embedding(concept.clamp_min(0), table) * weight[..., None]).sum(-2)


def answer_rows(table: Tensor, concept: Tensor, correct: Tensor) -> Tensor:
    """Return the mean rows [..., D] for answers on `concept` [..., C]; soft answers lie between wrong and right.

    Args:
        table: A row for each wrong answer, then one for each right answer, [2N, D].
        concept: -1 where unused.
        correct: [...] in [0, 1]; gradients reach it.

    >>> table = torch.tensor([[0.0], [2.0], [10.0], [20.0]])
    >>> answer_rows(table, torch.tensor([[0, 1], [1, -1]]), torch.tensor([1.0, 0.5])).tolist()
    [[15.0], [11.0]]
    """
    count, right = len(table) // 2, correct > 0.5
    if not correct.requires_grad and bool((right == correct).all()):
        return mean_rows(table, torch.where(concept >= 0, concept + count * right[..., None], PAD))
    return torch.lerp(mean_rows(table[:count], concept), mean_rows(table[count:], concept), correct[..., None])


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
