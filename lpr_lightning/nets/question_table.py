"""Vectors of questions and concepts in one space, and which questions belong to which concept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.functional.calibration import mean_over_questions
from lpr_lightning.nets.kept import Kept
from lpr_lightning.types import PAD

_SIZED_BY_DATA = ("item_concepts", "question", "offsets")


class QuestionTable(nn.Module):
    """Question vectors [Q, D] and concept vectors [N, D], with the map between questions and concepts in buffers.

    Questions have vectors given once and for all (`given_items`), or learned by id: a vector of their own plus the
    mean of their concepts' base vectors. The own vector begins at zero, so that a question without answers is
    what its concepts are. Concepts have
    given vectors (`given_concepts`), or the mean of their questions' vectors (the base vector where they have no
    question); on top of either, `learned_queries` adds a learned shift that begins at zero.

    The map comes by `attach`; until then no question has a concept. State dicts carry it and fit tables of any map.

    Args:
        num_items: Q.
        num_concepts: N.
        size: D.
        given_items: Question vectors are given, not learned.
        given_concepts: Concept vectors are given.
        learned_queries: Concept vectors have a learned shift.

    >>> table = QuestionTable(3, 2, size=4)
    >>> table.attach(torch.tensor([[0, -1], [0, 1], [1, -1]]))
    >>> table.count, table.questions_of(1)
    (tensor([2, 2]), tensor([1, 2]))
    >>> vectors = table.items(torch.arange(3))
    >>> torch.allclose(table.concepts()[1], vectors[1:].mean(0))
    True
    """

    item_concepts: Tensor
    group: Tensor
    question: Tensor
    offsets: Tensor
    item_vectors: Tensor | None
    concept_vectors: Tensor | None

    def __init__(
        self,
        num_items: int,
        num_concepts: int,
        size: int,
        given_items: bool = False,
        given_concepts: bool = False,
        learned_queries: bool = False,
    ) -> None:
        super().__init__()
        self.num_items, self.num_concepts, self.size = num_items, num_concepts, size
        self.register_buffer("item_concepts", torch.full((num_items, 1), PAD))
        self.register_buffer("group", torch.arange(num_concepts))
        self.register_buffer("question", torch.empty(0, dtype=torch.int64))
        self.register_buffer("offsets", torch.zeros(num_concepts + 1, dtype=torch.int64))
        self.register_buffer("item_vectors", torch.zeros(num_items, size) if given_items else None)
        self.register_buffer("concept_vectors", torch.zeros(num_concepts, size) if given_concepts else None)
        self.own = None if given_items else nn.Parameter(torch.empty(num_items, size))
        self.base = None if given_items else nn.Parameter(torch.empty(num_concepts, size))
        self.shift = nn.Parameter(torch.zeros(num_concepts, size)) if learned_queries else None
        self._mean = Kept()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the learned vectors anew."""
        if self.own is not None and self.base is not None:
            nn.init.zeros_(self.own)
            nn.init.normal_(self.base)
        if self.shift is not None:
            nn.init.zeros_(self.shift)

    @property
    def connected(self) -> bool:
        """Whether the questions' concepts are known."""
        return len(self.question) > 0

    @property
    def count(self) -> Tensor:
        """Number of questions of each group, [G] int64."""
        return self.offsets[1:] - self.offsets[:-1]

    def attach(
        self,
        item_concepts: Tensor,
        group: Tensor | None = None,
        item_vectors: Tensor | None = None,
        concept_vectors: Tensor | None = None,
    ) -> None:
        """Take the map and the given vectors.

        Args:
            item_concepts: Concepts of each question, [Q, C], -1 where unused.
            group: Group of each concept, [N]; mastery of a concept is the mean success over the questions of its
                group. None: every concept is a group of its own.
            item_vectors: Given question vectors [Q, D].
            concept_vectors: Given concept vectors [N, D].
        """
        device = self.group.device
        self.item_concepts = item_concepts.long().to(device)
        self.group = torch.arange(self.num_concepts, device=device) if group is None else group.to(device)
        item, place = (self.item_concepts >= 0).nonzero(as_tuple=True)
        pairs = torch.unique(torch.stack([self.group[self.item_concepts[item, place]], item], 1), dim=0)
        self.question = pairs[:, 1].contiguous()
        size = torch.bincount(pairs[:, 0], minlength=self.num_concepts)
        self.offsets = torch.cat([size.new_zeros(1), size.cumsum(0)])
        if self.item_vectors is not None and item_vectors is not None:
            self.item_vectors = item_vectors.to(self.item_vectors)
        if self.concept_vectors is not None and concept_vectors is not None:
            self.concept_vectors = concept_vectors.to(self.concept_vectors)

    def share(self, other: QuestionTable) -> None:
        """Take the map and the given vectors of `other`, without a copy; they are then left out of the state dict."""
        for name in (*_SIZED_BY_DATA, "group", "item_vectors", "concept_vectors"):
            self.register_buffer(name, getattr(other, name), persistent=False)

    def items(self, item: Tensor) -> Tensor:
        """Return the vectors [..., D] of questions [...]."""
        if self.own is None or self.base is None:
            return F.embedding(item, _present(self.item_vectors))
        return F.embedding(item, self.own) + _mean_rows(self.base, self.item_concepts[item])

    def all_items(self) -> Tensor:
        """Return the vectors of all questions, [Q, D]."""
        return self.items(torch.arange(self.num_items, device=self.group.device))

    def concepts(self) -> Tensor:
        """Return the vectors of all concepts, [N, D]; gradients reach the shift only."""
        if self.concept_vectors is not None:
            vectors = self.concept_vectors
        else:
            with torch.no_grad():
                vectors = self._mean(self.weights(shift=False), self._mean_of_questions)
        return vectors if self.shift is None else vectors + self.shift

    def weights(self, shift: bool = True) -> list[Tensor]:
        """Return everything that the vectors are computed from."""
        found = [self.own, self.base, self.item_vectors, self.concept_vectors, self.item_concepts]
        return [one for one in (*found, self.shift if shift else None) if one is not None]

    def find(self, item: Tensor, concept: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distinct vectors [U, D] of answers and each answer's row among them, [S].

        An answer `item` [S] of -1 (a log without questions) counts as one to its concepts [S, C].
        """
        strange = item < 0
        if not bool(strange.any()):
            distinct, row = torch.unique(item, return_inverse=True)
            return self.items(distinct), row
        distinct, known_row = torch.unique(item[~strange], return_inverse=True)
        several, strange_row = torch.unique(concept[strange], dim=0, return_inverse=True)
        row = torch.empty_like(item)
        row[~strange], row[strange] = known_row, strange_row + len(distinct)
        return torch.cat([self.items(distinct), _mean_rows(self.concepts(), several)]), row

    @property
    def known(self) -> Tensor:
        """Which concepts have questions (of their group) to speak for them, [N] bool."""
        return (self.count > 0)[self.group]

    def mean_success(self, probability: Tensor) -> Tensor:
        """Return the mean over each concept's questions (of its group) of what all questions are solved with.

        Args:
            probability: Success probability of every question, [..., Q].

        Returns:
            Means [..., N] (eq. 14); 0 for concepts without questions.
        """
        groups = len(self.count)
        pair_group = torch.arange(groups, device=self.group.device).repeat_interleave(self.count)
        return mean_over_questions(probability, self.question, pair_group, groups)[..., self.group]

    def sampled_success(self, probability: Tensor, drawn: Tensor) -> Tensor:
        """Return the mean over the questions `drawn` [G, K] for each concept's group, [S, N]; `probability` [S, Q]."""
        rows = probability[:, drawn.clamp_min(0).flatten()].view(len(probability), *drawn.shape)
        return rows.mean(2)[:, self.group]

    def questions_of(self, group: int) -> Tensor:
        """Return the questions of a group."""
        return self.question[int(self.offsets[group]) : int(self.offsets[group + 1])]

    def sample(self, count: int, with_replacement: bool, generator: torch.Generator | None = None) -> Tensor:
        """Return `count` random questions of every group, [G, count] int64; -1 for groups without questions.

        Without replacement no group with questions may have fewer than `count`.
        """
        size = self.count
        if with_replacement:
            place = torch.rand(len(size), count, generator=generator, device=size.device) * size[:, None]
            place = place.long().minimum((size[:, None] - 1).clamp_min(0))
        else:
            widest = max(int(size.max()), count)
            key = torch.rand(len(size), widest, generator=generator, device=size.device)
            key = key.masked_fill(torch.arange(widest, device=size.device) >= size[:, None], 2.0)
            place = key.topk(count, 1, largest=False).indices
        last = max(len(self.question) - 1, 0)
        drawn = self.question[(self.offsets[:-1, None] + place).clamp_max(last)]
        return drawn.masked_fill(size[:, None] == 0, PAD)

    def draw(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Return `count` concepts: a group with questions at random, then one of its concepts at random."""
        known = self.count > 0
        order = self.group.argsort(stable=True)
        members = torch.bincount(self.group, minlength=len(known))
        first = members.cumsum(0) - members
        group = known.nonzero().squeeze(1)
        group = group[torch.randint(len(group), (count,), generator=generator, device=group.device)]
        place = torch.rand(count, generator=generator, device=group.device) * members[group]
        return order[first[group] + place.long().minimum(members[group] - 1)]

    def _mean_of_questions(self) -> Tensor:
        """Return the mean vector of each concept's questions, [N, D]; the base vector, or zero, where it has none."""
        item, place = (self.item_concepts >= 0).nonzero(as_tuple=True)
        concept = self.item_concepts[item, place]
        like = _present(self.item_vectors if self.base is None else self.base)
        total = like.new_zeros(self.num_concepts, self.size).index_add_(0, concept, self.items(item))
        size = torch.bincount(concept, minlength=self.num_concepts)[:, None]
        return torch.where(size > 0, total / size.clamp_min(1), 0.0 if self.base is None else self.base)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Make room for the map that is loaded."""
        for name in _SIZED_BY_DATA:
            loaded, present = state_dict.get(prefix + name), getattr(self, name)
            if loaded is not None and loaded.shape != present.shape:
                setattr(self, name, present.new_empty(loaded.shape))
        super()._load_from_state_dict(state_dict, prefix, *others)


def _present(vectors: Tensor | None) -> Tensor:
    if vectors is None:
        raise RuntimeError("the table holds no given vectors")
    return vectors


def _mean_rows(table: Tensor, index: Tensor) -> Tensor:
    """Return the mean of `table`'s rows at `index` [..., C]; -1 is left out."""
    known = index >= 0
    rows = F.embedding(index.clamp_min(0), table) * known[..., None]
    return rows.sum(-2) / known.sum(-1, keepdim=True).clamp_min(1)
