"""Baselines for the concepts that a learner takes up next: what every learned path has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.types import PAD, Interactions


def copy_last(last: Tensor, length: int) -> Tensor:
    """Return paths that stay with the concept `last` [B] of the history, [B, L].

    >>> copy_last(torch.tensor([3, 1]), 2)
    tensor([[3, 3],
            [1, 1]])
    """
    return last[:, None].expand(-1, length)


def transition_counts(log: Interactions, num_concepts: int) -> Tensor:
    """Return how often a learner of `log` goes from one concept to the next, [N, N] float32, rows are where from.

    An answer on several concepts counts as its first one.

    >>> transition_counts(Interactions.from_lists([[(0, 1), (1, 0), (1, 1)], [(0, 1)]]), 2)
    tensor([[0., 1.],
            [0., 1.]])
    """
    concept = log.concept[:, 0].long()
    learner = log.owner
    inside = learner[1:] == learner[:-1]
    pair = concept[:-1][inside] * num_concepts + concept[1:][inside]
    return torch.bincount(pair, minlength=num_concepts**2).view(num_concepts, num_concepts).float()


def bigram_successors(log: Interactions, num_concepts: int, count: int) -> Tensor:
    """Return the `count` likeliest successors of each concept, likeliest first, [N, count] int64.

    Successors that were seen equally often, and those never seen, come in the order of how often a concept occurs in
    the whole log. Fitted on the log of training learners.

    >>> bigram_successors(Interactions.from_lists([[(0, 1), (1, 0), (0, 1), (2, 1)], [(0, 1), (2, 0)]]), 3, 2)
    tensor([[2, 1],
            [0, 2],
            [0, 2]])
    """
    if not 1 <= count <= num_concepts:
        raise SettingError("count", count, f"a number from 1 to {num_concepts}, the number of concepts")
    common = most_frequent(log, num_concepts)
    order = transition_counts(log, num_concepts)[:, common].argsort(dim=1, descending=True, stable=True)
    return common[order[:, :count]]


def most_frequent(log: Interactions, num_concepts: int) -> Tensor:
    """Return all concepts, the one with most answers first, [N] int64; an answer counts as its first concept.

    >>> most_frequent(Interactions.from_lists([[(2, 1), (1, 0), (2, 1)]]), 3)
    tensor([2, 1, 0])
    """
    occurrences = torch.bincount(log.concept[:, 0].long(), minlength=num_concepts)
    return occurrences.argsort(descending=True, stable=True)


def bigram_path(successors: Tensor, last: Tensor, length: int, no_repeat: bool = False) -> Tensor:
    """Return paths that go on greedily from the concept `last` [B] to the likeliest successor, [B, L].

    Args:
        successors: of `bigram_successors`, [N, count].
        last: last concept of each history; -1 (no history) goes on from concept 0.
        length: L.
        no_repeat: pass over concepts that are in the path already; where all known successors are, the likeliest is
            taken again.

    >>> successors = torch.tensor([[1, 2], [0, 2], [0, 1]])
    >>> bigram_path(successors, torch.tensor([0]), 3), bigram_path(successors, torch.tensor([0]), 3, no_repeat=True)
    (tensor([[1, 0, 1]]), tensor([[1, 0, 2]]))
    """
    path = torch.full((len(last), length), PAD, dtype=torch.int64, device=last.device)
    last = last.clamp_min(0)
    for step in range(length):
        likely = successors[last]
        if no_repeat:
            taken = (likely[:, :, None] == path[:, None, :step]).any(2)
            last = likely.gather(1, taken.long().argmin(1, keepdim=True))[:, 0]
        else:
            last = likely[:, 0]
        path[:, step] = last
    return path
