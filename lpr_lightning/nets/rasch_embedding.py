"""Vectors of questions and answers in the manner of the Rasch model: a concept, moved by the question's difficulty."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.errors import SettingError
from lpr_lightning.types import PAD


class RaschEmbedding(nn.Module):
    """Vector of a question = its concepts' vector + the question's difficulty * its concepts' variation vector.

    Several concepts count as the mean of their vectors. A question without a number (-1) has difficulty 0, at which
    all start: it is a question of mean difficulty. An answer adds one of two vectors, right or wrong; soft answers in
    (0, 1) are mixtures.

    >>> embedding = RaschEmbedding(num_concepts=3, num_items=4, width=2)
    >>> concept = torch.tensor([[0, 2], [1, -1]])
    >>> embedding.question(concept, torch.tensor([3, -1])).shape
    torch.Size([2, 2])
    """

    item_concepts: Tensor

    def __init__(self, num_concepts: int, num_items: int, width: int) -> None:
        super().__init__()
        self.num_concepts, self.num_items, self.width = num_concepts, num_items, width
        self.concept = nn.Embedding(num_concepts, width)
        self.variation = nn.Embedding(num_concepts, width)
        self.difficulty = nn.Embedding(num_items, 1)
        self.answer = nn.Embedding(2, width)
        self.register_buffer("item_concepts", torch.empty(num_items, 0, dtype=torch.int64))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all vectors anew; difficulties start at 0."""
        for table in (self.concept, self.variation, self.answer):
            table.reset_parameters()
        nn.init.zeros_(self.difficulty.weight)

    def place(self, item_concepts: Tensor) -> None:
        """Learn which concepts each question is on ([Q, C], -1 where unused), for calls that give questions alone.

        Raises:
            SettingError: There are other questions or concepts than this module was made for.
        """
        if len(item_concepts) != self.num_items:
            raise SettingError("num_items", self.num_items, f"{len(item_concepts)}, as in the data")
        if item_concepts.numel() and int(item_concepts.max()) >= self.num_concepts:
            raise SettingError(
                "num_concepts", self.num_concepts, f"more than {int(item_concepts.max())}, as in the data"
            )
        self.item_concepts = item_concepts.to(self.concept.weight.device)

    def concepts_of(self, item: Tensor) -> Tensor:
        """Return the concepts [..., C] of questions."""
        if not self.item_concepts.shape[1]:
            raise SettingError("item_concepts", None, "the concepts of each question", "call connect(data) first")
        return torch.where(item[..., None] >= 0, self.item_concepts[item.clamp_min(0)], PAD)

    def question(self, concept: Tensor, item: Tensor | None = None) -> Tensor:
        """Return the vectors [..., D] of questions on `concept` [..., C], of mean difficulty where `item` is -1."""
        vector = self._mean(self.concept, concept)
        if item is None:
            return vector
        difficulty: Tensor = self.difficulty(item.clamp_min(0)) * (item >= 0)[..., None]
        return vector + difficulty * self._mean(self.variation, concept)

    def interaction(self, question: Tensor, correct: Tensor) -> Tensor:
        """Return the vectors [..., D] of answers to questions of vectors `question` [..., D]."""
        return question + torch.lerp(self.answer.weight[0], self.answer.weight[1], correct[..., None])

    def _mean(self, table: nn.Embedding, concept: Tensor) -> Tensor:
        known = concept >= 0
        if concept.shape[-1] == 1:
            return F.embedding(concept[..., 0].clamp_min(0), table.weight) * known
        weight = known / known.sum(-1, keepdim=True).clamp_min(1)
        return (F.embedding(concept.clamp_min(0), table.weight) * weight[..., None]).sum(-2)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Make room for the concepts of questions as they were saved."""
        saved = state_dict.get(f"{prefix}item_concepts")
        if saved is not None:
            self.item_concepts = self.item_concepts.new_empty(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)
