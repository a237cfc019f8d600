"""Vectors of questions and answers in the manner of the Rasch model: a concept, moved by the question's difficulty."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lpr_lightning.nets.concept_rows import mean_rows
from lpr_lightning.types import Exercise


class RaschEmbedding(nn.Module):
    """Vector of a question = its concepts' vector + the question's difficulty * its concepts' variation vector.

    Several concepts count as the mean of their vectors. A question that is not known (item outside [0, num_items))
    has difficulty 0, at which all start: it is a question of mean difficulty. An answer adds one of two vectors, right
    or wrong; soft answers in (0, 1) are mixtures.

    >>> embedding = RaschEmbedding(num_concepts=3, num_items=4, width=2)
    >>> asked = Exercise(torch.tensor([[0, 2], [1, -1]]), torch.tensor([3, -1]))
    >>> embedding.question(asked).shape
    torch.Size([2, 2])
    """

    def __init__(self, num_concepts: int, num_items: int, width: int) -> None:
        super().__init__()
        self.num_items = num_items
        self.concept = nn.Embedding(num_concepts, width)
        self.variation = nn.Embedding(num_concepts, width)
        self.difficulty = nn.Embedding(num_items, 1)
        self.answer = nn.Embedding(2, width)
        nn.init.zeros_(self.difficulty.weight)

    def question(self, asked: Exercise) -> Tensor:
        """Return the vectors of questions, [..., D]."""
        vector = mean_rows(self.concept.weight, asked.concept)
        known = (asked.item >= 0) & (asked.item < self.num_items)
        if not torch.is_grad_enabled() and not bool(known.any()):
            return vector
        difficulty: Tensor = self.difficulty(torch.where(known, asked.item, 0)) * known[..., None]
        return vector + difficulty * mean_rows(self.variation.weight, asked.concept)

    def interaction(self, question: Tensor, correct: Tensor) -> Tensor:
        """Return the vectors [..., D] of answers to questions of vectors `question` [..., D]."""
        return question + torch.lerp(self.answer.weight[0], self.answer.weight[1], correct[..., None])
