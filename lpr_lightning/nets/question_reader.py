"""An LSTM over (question, answer) pairs whose concepts are vectors of a relation graph, with one logit a concept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.nets.concept_rows import mean_rows
from lpr_lightning.nets.fused_lstm import PackedRows, lookup_lstm
from lpr_lightning.nets.memo import Memo
from lpr_lightning.nets.recurrent import layer_weights, recurrent_step, run_padded
from lpr_lightning.nets.relation_graph import RelationGraph
from lpr_lightning.types import Exercise, InteractionBatch, State

_DENSE = 64
"""Concepts for each one that is read, up to which the logits of all are computed and gathered."""


class ConceptTables(NamedTuple):
    """What the vectors of concepts give, a row each, [N, …]: computed once for as long as the weights are the same.

    `level` [N, H]: the output weights; `entry` and `entry_moved` [N, 4H]: input products of the concept and of its
    variation; `question` and `question_moved` [N, K]: the same for the response; `share` [N, P]: attention to the
    concepts that it builds on.
    """

    level: Tensor
    entry: Tensor
    entry_moved: Tensor
    question: Tensor
    question_moved: Tensor
    share: Tensor


class QuestionReader(nn.Module):
    """Reads answers to questions; gives a logit of each concept, and of a question with its concepts' logits.

    A question is the mean of its concepts' vectors (by `RelationGraph`), moved by its difficulty times the mean of
    their variation vectors (the Rasch term); a question that is not known has difficulty 0. An answer adds one of two
    vectors. Logit of concept k: (W h)^T e_k / sqrt(D) + b_k. A response adds to the mean logit of the question's
    concepts its difficulty and a small net of (h, question, mastery of the concepts, of what they build on,
    difficulty). State: (h, c), [B, 1, H] each.

    Args:
        num_concepts: N.
        num_items: questions.
        embedding_size: D.
        hidden_size: H.
        head_size: K, of the response's hidden layer.
        layers: of the graph; 0 leaves concepts as they are alone.
        most: P, concepts that one builds on at most.
        dropout: on hidden states before the outputs while training, in [0, 1).

    >>> reader = QuestionReader(3, 4, embedding_size=4, hidden_size=5, head_size=6)
    >>> state = reader.observe(reader.initial_state(2), Exercise.of_concepts(torch.tensor([0, 2])), torch.ones(2))
    >>> reader.head(state[0][:, -1]).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        num_concepts: int,
        num_items: int,
        embedding_size: int,
        hidden_size: int,
        head_size: int,
        layers: int = 2,
        most: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_items, self.hidden_size, self.dropout = num_items, hidden_size, dropout
        self.sizes = [hidden_size, 4 * hidden_size, 4 * hidden_size, head_size, head_size, most]
        self.concept = nn.Embedding(num_concepts, embedding_size)
        self.variation = nn.Embedding(num_concepts, embedding_size)
        self.difficulty = nn.Embedding(num_items, 1)
        self.answer = nn.Embedding(2, embedding_size)
        self.graph = RelationGraph(num_concepts, embedding_size, layers, most)
        self.lstm = nn.LSTM(embedding_size, hidden_size, batch_first=True)
        self.query = nn.Linear(hidden_size, embedding_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(num_concepts))
        self.of_state = nn.Linear(hidden_size, head_size)
        self.of_question = nn.Linear(embedding_size, head_size, bias=False)
        self.of_levels = nn.Linear(3, head_size, bias=False)
        self.out = nn.Linear(head_size, 1, bias=False)
        nn.init.zeros_(self.difficulty.weight)
        for small in (self.query.weight, self.out.weight):  # what the rest gives comes first
            nn.init.normal_(small, std=0.01)
        self._tables, self._answers = Memo(), Memo()
        self._held: ConceptTables | None = None

    @contextmanager
    def tables_once(self) -> Iterator[None]:
        """Compute the tables once for all that is computed within; weights must not change there."""
        self._held = self.tables()
        try:
            yield
        finally:
            self._held = None

    def tables(self) -> ConceptTables:
        """Return what the vectors of concepts give."""
        if self._held is not None:
            return self._held
        weights = [self.concept.weight, self.variation.weight, self.query.weight, layer_weights(self.lstm).weight_ih]
        weights += [self.of_question.weight, self.graph.weight, self.graph.matrix, self.graph.sides]
        return ConceptTables(*self._tables(weights, self._tabulated).split(self.sizes, 1))  # type: ignore[no-untyped-call]

    def difficulties(self, item: Tensor) -> Tensor:
        """Return the difficulties [...] of questions [...], larger where they are easier; 0 where one is not known."""
        known = (item >= 0) & (item < self.num_items)
        return F.embedding(torch.where(known, item, 0), self.difficulty.weight).squeeze(-1) * known

    def head(self, hidden: Tensor) -> Tensor:
        """Return the logits [..., N] of all concepts after hidden states [..., H]."""
        return F.linear(hidden, self.tables().level, self.bias)

    def levels(self, hidden: Tensor, concept: Tensor) -> Tensor:
        """Return the logits [R, M] of concepts [R, M] after hidden states [R, H]; those of -1 are arbitrary."""
        index = concept.clamp_min(0)
        table = self.tables().level
        if len(table) <= _DENSE * index.shape[1]:
            return F.linear(hidden, table, self.bias).gather(1, index)
        product = torch.bmm(F.embedding(index, table), hidden[..., None]).squeeze(-1)
        return product + F.embedding(index, self.bias[:, None]).squeeze(-1)

    def response(self, of_state: Tensor, asked: Exercise, level: Tensor, needed: Tensor) -> Tensor:
        """Return what a response's logit is beyond the mean level of its concepts, [...].

        Args:
            of_state: what the response takes of hidden states, [..., K].
            asked: questions, [...].
            level: mean mastery of each one's concepts, [...].
            needed: mean mastery of what they build on, [...].
        """
        tables, difficulty = self.tables(), self.difficulties(asked.item)
        question = moved_rows(tables.question, tables.question_moved, asked.concept, difficulty)
        levels = self.of_levels(torch.stack([level, needed, difficulty], -1))
        more: Tensor = self.out((of_state + question + levels).relu())
        return difficulty + more.squeeze(-1)

    def initial_state(self, batch_size: int) -> State:
        """Return zero states."""
        zeros = self.bias.new_zeros(batch_size, 1, self.hidden_size)
        return zeros, zeros

    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole right-padded histories; only real steps are computed."""
        if not self._fused:
            return run_padded(self.lstm, self._embedded(history), history.mask)[1]
        rows, start = PackedRows.of(history.mask), self.initial_state(len(history))
        if not rows.batch_sizes:
            return start
        last = self._run(history, rows)[1]
        going = rows.order[: rows.batch_sizes[0]]
        return tuple(zeros.index_copy(0, going, part[:, None]) for zeros, part in zip(start, last))

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each, or after each of A possible answers."""
        asked = asked.candidates()
        product = self._entry(asked) + self._answered(correct.reshape(asked.shape))
        after = recurrent_step(tuple(part[:, 0] for part in state), product, layer_weights(self.lstm))
        return tuple(part.flatten(0, 1)[:, None] for part in after)

    def hidden_before(self, batch: InteractionBatch) -> tuple[Tensor, PackedRows]:
        """Return the hidden states [R, H] before all real answers 1 … T - 1, and where these lie."""
        rows = PackedRows.of(batch.mask[:, 1:])
        before = InteractionBatch(
            batch.concept[:, :-1], batch.item[:, :-1], batch.correct[:, :-1], batch.mask[:, 1:], batch.learner
        )
        if self._fused:
            return self._run(before, rows)[0], rows
        if rows.batch_sizes:
            return rows.pack(self.lstm(self._embedded(before))[0]), rows
        return self.bias.new_zeros(0, self.hidden_size), rows

    @property
    def _fused(self) -> bool:
        """Whether this device is served by `lookup_lstm`."""
        return self.bias.device.type == "cpu"

    def _run(self, history: InteractionBatch, rows: PackedRows) -> tuple[Tensor, State]:
        """Return all hidden states [S, H] and the last states [B, H], longest row first."""
        weights = layer_weights(self.lstm)
        correct = rows.pack(history.correct)
        entry = self._entry(Exercise(rows.pack(history.concept), rows.pack(history.item)))
        table, index = self.answer_products() + weights.bias, (correct > 0.5).long()
        if correct.requires_grad or not bool(((correct == 0) | (correct == 1)).all()):
            entry, index = entry + self._answered(correct) + weights.bias, torch.zeros_like(index)
            table = torch.zeros_like(table[:1])
        hidden, *last = lookup_lstm(entry, None, weights.weight_hh, rows.batch_sizes, more=[(table, index)])
        return hidden, tuple(last)

    def _entry(self, asked: Exercise) -> Tensor:
        """Return the input products [..., 4H] of questions, without bias."""
        tables = self.tables()
        return moved_rows(tables.entry, tables.entry_moved, asked.concept, self.difficulties(asked.item))

    def _answered(self, correct: Tensor) -> Tensor:
        """Return the input products [..., 4H] of answers [...], soft ones between wrong and right."""
        wrong, right = self.answer_products().unbind()
        return torch.lerp(wrong, right, correct[..., None])

    def answer_products(self) -> Tensor:
        """Return the input product of a wrong and of a right answer, [2, 4H], without bias."""
        answer, weight = self.answer.weight, layer_weights(self.lstm).weight_ih
        return self._answers([answer, weight], lambda: F.linear(answer, weight))

    def _embedded(self, history: InteractionBatch) -> Tensor:
        """Return the inputs [B, T, D]."""
        vector, difficulty = self.graph(self.concept.weight)[0], self.difficulties(history.item)[..., None]
        question = mean_rows(vector, history.concept) + difficulty * mean_rows(self.variation.weight, history.concept)
        return question + torch.lerp(self.answer.weight[0], self.answer.weight[1], history.correct[..., None])

    def _tabulated(self) -> Tensor:
        """Return all tables side by side."""
        vector, share = self.graph(self.concept.weight)
        both = torch.cat([vector, self.variation.weight])
        into = layer_weights(self.lstm).weight_ih, self.of_question.weight
        entry, question = (F.linear(both, one).chunk(2) for one in into)
        level = F.linear(vector, self.query.weight.T) * vector.shape[1] ** -0.5
        return torch.cat([level, *entry, *question, share], 1)


def moved_rows(table: Tensor, moved: Tensor, concept: Tensor, by: Tensor) -> Tensor:
    """Return the mean rows [..., U] of `table` [N, U] at `concept` [..., C], and of `moved` [N, U] times `by` [...].

    >>> table, moved = torch.tensor([[1.0], [3.0]]), torch.tensor([[10.0], [20.0]])
    >>> moved_rows(table, moved, torch.tensor([[0, 1], [1, -1]]), torch.tensor([0.0, 0.5])).tolist()
    [[2.0], [13.0]]
    """
    if not torch.is_grad_enabled() and not bool(by.any()):
        return mean_rows(table, concept)
    if concept.shape[-1] == 1 and bool((concept >= 0).all()):
        index = concept[..., 0]
        return torch.addcmul(F.embedding(index, table), by[..., None], F.embedding(index, moved))
    return torch.addcmul(mean_rows(table, concept), by[..., None], mean_rows(moved, concept))
