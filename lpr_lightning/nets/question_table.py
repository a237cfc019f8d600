"""Vectors of questions and concepts in one space, and which questions belong to which concept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.draws import Draws
from lpr_lightning.nets.concept_rows import concept_sets, mean_rows
from lpr_lightning.nets.memo import Memo
from lpr_lightning.types import PAD, Exercise

MAPPED = 0.3
"""Standard deviation of the numbers of a mapped vector at the start, where those of a base vector have 1."""
_SIZED_BY_DATA = ("item_concepts", "question", "offsets")


class QuestionTable(nn.Module):
    """Question vectors [Q, D] and concept vectors [N, D], with the map between questions and concepts in buffers.

    A question's vector is a sum of parts: a given vector (`given_items`), through a learned linear map where it has
    another width (`given_size`); the mean of its concepts' learned base vectors (`learned_base`); a learned vector of
    its own (`learned_own`) that begins at zero, so that a question without answers is what its text and concepts say.
    Questions without given vectors have the other two parts. Concepts have given vectors (`given_concepts`), mapped
    alike and with their base vector added, or the mean of their questions' vectors (the base vector where they have no
    question); on top of either, `learned_queries` adds a learned shift that begins at zero.

    The map comes by `attach`; until then no question has a concept. State dicts carry it and fit tables of any map.

    Args:
        num_items: Q.
        num_concepts: N.
        size: D.
        given_items: Question vectors are given.
        given_concepts: Concept vectors are given.
        learned_queries: Concept vectors have a learned shift.
        given_size: Width W of given vectors that are mapped to D; None takes them as they are, D wide.
        learned_base: Concepts' base vectors are a part of given questions too.
        learned_own: So are vectors of the questions' own.

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
        given_size: int | None = None,
        learned_base: bool = False,
        learned_own: bool = False,
    ) -> None:
        super().__init__()
        self.num_items, self.num_concepts, self.size = num_items, num_concepts, size
        self.register_buffer("item_concepts", torch.full((num_items, 1), PAD))
        self.register_buffer("group", torch.arange(num_concepts))
        self.register_buffer("question", torch.empty(0, dtype=torch.int64))
        self.register_buffer("offsets", torch.zeros(num_concepts + 1, dtype=torch.int64))
        width = given_size or size
        self.register_buffer("item_vectors", torch.zeros(num_items, width) if given_items else None)
        self.register_buffer("concept_vectors", torch.zeros(num_concepts, width) if given_concepts else None)
        own, base = learned_own or not given_items, learned_base or not given_items
        self.own = nn.Parameter(torch.zeros(num_items, size)) if own else None
        self.base = nn.Parameter(torch.randn(num_concepts, size)) if base else None
        mapped = given_items and given_size is not None
        self.map = nn.Parameter(torch.randn(size, width) * (MAPPED / width**0.5)) if mapped else None
        self.shift = nn.Parameter(torch.zeros(num_concepts, size)) if learned_queries else None
        self._plain = Memo()

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
            item_vectors: Given question vectors, [Q, D] or [Q, W].
            concept_vectors: Given concept vectors, [N, D] or [N, W].
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
            self.register_buffer(name, other._buffers[name], persistent=False)

    def items(self, item: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return the vectors [..., D] of questions [...]; without their own part where not `kept`, [Q] bool."""
        parts: list[Tensor] = []
        if self.own is not None:
            own = F.embedding(item, self.own)
            parts.append(own if kept is None else own * kept[item][..., None])
        if self.base is not None:
            parts.append(mean_rows(self.base, self.item_concepts[item]))
        if self.item_vectors is not None:
            parts.append(self._mapped(F.embedding(item, self.item_vectors)))
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def all_items(self) -> Tensor:
        """Return the vectors of all questions, [Q, D]."""
        return self.items(torch.arange(self.num_items, device=self.group.device))

    def concepts(self) -> Tensor:
        """Return the vectors of all concepts, [N, D]; gradients reach the shift only."""
        with torch.no_grad():
            vectors = self._plain(self.weights(shift=False), self._plain_concepts)
        return vectors if self.shift is None else vectors + self.shift

    def weights(self, shift: bool = True) -> list[Tensor]:
        """Return everything that the vectors are computed from."""
        found = [self.own, self.base, self.map, self.item_vectors, self.concept_vectors, self.item_concepts]
        return [one for one in (*found, self.shift if shift else None) if one is not None]

    def knows(self, item: Tensor) -> Tensor:
        """Return whether items [...] are questions of the table, bool."""
        return (item >= 0) & (item < self.num_items)

    def vectors(self, asked: Exercise, kept: Tensor | None = None) -> Tensor:
        """Return the vectors [..., D] of exercises: their own, else the question's, else the mean of the concepts'.

        Where nothing is asked it is zero. For `kept` see `items`.
        """
        if asked.vector is not None:
            return asked.vector
        known = self.knows(asked.item)
        if bool(known.all()):
            return self.items(asked.item, kept)
        vectors = mean_rows(self.concepts(), asked.concept)
        if not bool(known.any()):
            return vectors
        return torch.where(known[..., None], self.items(torch.where(known, asked.item, 0), kept), vectors)

    def distinct(self, asked: Exercise) -> tuple[Exercise, Tensor]:
        """Return the distinct ones [U] of exercises without vectors, and where each lies among them, like `asked`."""
        item, concept = asked.item.flatten(), asked.concept.flatten(0, -2)
        known = self.knows(item)
        distinct, row = torch.unique(item[known], return_inverse=True)
        if bool(known.all()):
            none = torch.full((len(distinct), 1), PAD, device=item.device)
            return Exercise(none, distinct), row.view(asked.shape)
        sets, place = concept_sets(concept[~known], self.num_concepts)
        index = torch.empty_like(item)
        index[known] = row
        index[~known] = len(distinct) + (torch.arange(len(sets), device=item.device) if place is None else place)
        none = torch.full((len(distinct), sets.shape[1]), PAD, device=item.device)
        items = torch.cat([distinct, torch.full_like(sets[:, 0], PAD)])
        return Exercise(torch.cat([none, sets]), items), index.view(asked.shape)

    @property
    def known(self) -> Tensor:
        """Which concepts have questions (of their group) to speak for them, [N] bool."""
        return (self.count > 0)[self.group]

    def spaced(self, group: Tensor, most: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the questions of groups [R], at most `most` of each and evenly spaced, and which are real, [R, K].

        What is not real is any question.
        """
        size = self.count[group]
        taken = size if most is None else size.clamp_max(most)
        place = torch.arange(int(taken.max()) if len(group) else 0, device=group.device)
        spread = place * size[:, None] // taken.clamp_min(1)[:, None]
        last = max(len(self.question) - 1, 0)
        return self.question[(self.offsets[group, None] + spread).clamp_max(last)], place < taken[:, None]

    def questions_of(self, group: int) -> Tensor:
        """Return the questions of a group."""
        return self.question[int(self.offsets[group]) : int(self.offsets[group + 1])]

    def sample(self, draws: Draws, count: int, with_replacement: bool) -> Tensor:
        """Return `count` random questions of every group, [G, count] int64; -1 for groups without questions.

        Without replacement no group with questions may have fewer than `count`.

        Args:
            draws: One row for each group.
            count: Questions of a group.
            with_replacement: Whether a question may be drawn twice.
        """
        size = self.count
        if with_replacement:
            place = draws.integers(size.clamp_min(1)[:, None], count)
        else:
            widest = max(int(size.max()), count)
            key = draws.uniform(widest)
            key = key.masked_fill(torch.arange(widest, device=size.device) >= size[:, None], 2.0)
            place = key.topk(count, 1, largest=False).indices
        last = max(len(self.question) - 1, 0)
        drawn = self.question[(self.offsets[:-1, None] + place).clamp_max(last)]
        return drawn.masked_fill(size[:, None] == 0, PAD)

    def draw(self, draws: Draws, mask: Tensor) -> Tensor:
        """Return a concept for each real answer: a group with questions at random, then one of its concepts.

        Args:
            draws: One row for each learner.
            mask: True on real answers, [B, T]; R of them.

        Returns:
            Concepts [R] in the order of `mask.nonzero()`.
        """
        order = self.group.argsort(stable=True)
        members = torch.bincount(self.group, minlength=len(self.count))
        first, steps = members.cumsum(0) - members, mask.shape[1]
        known = (self.count > 0).nonzero().squeeze(1)
        group = known[draws.at(0).integers(len(known), steps)][mask]
        place = draws.at(1).uniform(steps)[mask].double() * members[group]
        return order[first[group] + place.long().minimum(members[group] - 1)]

    def _mapped(self, vectors: Tensor) -> Tensor:
        return vectors if self.map is None else F.linear(vectors, self.map)

    def _plain_concepts(self) -> Tensor:
        """Return the concepts' vectors without their shift, [N, D]: the given ones, mapped and on top of the base; or
        the mean of each concept's questions, and the base vector, or zero, where it has none."""
        if self.concept_vectors is not None:
            given = self._mapped(self.concept_vectors)
            return given if self.base is None else given + self.base
        item, place = (self.item_concepts >= 0).nonzero(as_tuple=True)
        concept, vectors = self.item_concepts[item, place], self.items(item)
        total = vectors.new_zeros(self.num_concepts, self.size).index_add_(0, concept, vectors)
        size = torch.bincount(concept, minlength=self.num_concepts)[:, None]
        return torch.where(size > 0, total / size.clamp_min(1), 0.0 if self.base is None else self.base)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        """Make room for the map that is loaded."""
        for name in _SIZED_BY_DATA:
            loaded, present = state_dict.get(prefix + name), self._buffers[name]
            if loaded is not None and present is not None and loaded.shape != present.shape:
                self._buffers[name] = present.new_empty(loaded.shape)
        super()._load_from_state_dict(state_dict, prefix, *others)


class Tabulated:
    """A function of vectors, tabulated for all questions and all concepts of a table where nothing is trained.

    Each table ends with a row for what has no vector: exercises that ask nothing.

    Args:
        table: The vectors.
        function: Takes vectors [..., D] to [..., U].
        weights: Returns what else `function` is computed from.

    >>> table = QuestionTable(3, 2, size=4).requires_grad_(False)
    >>> doubled = Tabulated(table, lambda vector: 2 * vector, list)
    >>> rows, index = doubled.find(Exercise.of_concepts(torch.tensor([[1, 0]])))
    >>> rows.shape, index
    (torch.Size([3, 4]), tensor([[1, 0]]))
    """

    def __init__(
        self, table: QuestionTable, function: Callable[[Tensor], Tensor], weights: Callable[[], list[Tensor]]
    ) -> None:
        self.table, self.function, self.weights = table, function, weights
        self._items, self._concepts = Memo(), Memo()

    def find(self, asked: Exercise) -> tuple[Tensor, Tensor]:
        """Return rows [V, U] of the function's values, and which of them belongs to each exercise, like `asked`."""
        if asked.vector is not None:
            if asked.vector.dim() == 3 and not asked.vector.stride(1):  # one vector for all candidates of a row
                rows = self.function(asked.vector[:, 0])
                return rows, torch.arange(len(rows), device=rows.device)[:, None].expand(asked.shape)
            rows = self.function(asked.vector.flatten(0, -2))
            return rows, torch.arange(len(rows), device=rows.device).view(asked.shape)
        if not (torch.is_grad_enabled() and any(one.requires_grad for one in self._sources())):
            known, used = self.table.knows(asked.item), (asked.concept >= 0).sum(-1)
            if not bool(known.any()):
                if asked.concept.shape[-1] == 1 or not bool((used > 1).any()):
                    concept = asked.concept.amax(-1)
                    return self.concepts(), torch.where(concept < 0, self.table.num_concepts, concept)
            elif bool((known | (used == 0)).all()):
                return self.items(), torch.where(known, asked.item, self.table.num_items)
        distinct, index = self.table.distinct(asked)
        return self.function(self.table.vectors(distinct)), index

    def concepts(self) -> Tensor:
        """Return the values of all concepts and of nothing, [N + 1, U]."""
        return self._concepts(self._sources(), lambda: self._with_nothing(self.table.concepts()))

    def items(self) -> Tensor:
        """Return the values of all questions and of nothing, [Q + 1, U]."""
        return self._items(self._sources(), lambda: self._with_nothing(self.table.all_items()))

    def _sources(self) -> list[Tensor]:
        return [*self.table.weights(), *self.weights()]

    def _with_nothing(self, vectors: Tensor) -> Tensor:
        return self.function(torch.cat([vectors, vectors.new_zeros(1, vectors.shape[1])]))
