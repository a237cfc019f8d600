"""A recurrent net over answers to questions, whose state is asked about questions, concepts and vectors alike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.nets.fast_dropout import FastDropout
from lpr_lightning.nets.fused_lstm import PackedRows, gate_scale, lookup_last, lookup_lstm
from lpr_lightning.nets.memo import Memo
from lpr_lightning.nets.question_head import QuestionHead
from lpr_lightning.nets.question_table import QuestionTable, Tabulated
from lpr_lightning.nets.recurrent import layer_weights, recurrent_step, run_padded
from lpr_lightning.nets.tracer_net import TracerNet
from lpr_lightning.types import Exercise, InteractionBatch, State

MOST_ANSWERED = 2**25
"""Numbers of the largest table that holds the products of all questions with both answers (128 MiB of float32)."""

ROWS = 512
"""Groups whose questions are asked at a time; they are padded to the largest of them."""


class Trace(NamedTuple):
    """A net's run over whole logs: `hidden` [B, T, H] after each answer, zero under the mask; `vectors` [U, D], the
    distinct vectors of what the logs ask, and `row` [B, T], each answer's among them.
    """

    hidden: Tensor
    vectors: Tensor
    row: Tensor

    def at(self, mask: Tensor, points: int) -> Tensor:
        """Return the hidden states at `points` evenly spaced answers of each log, the last one among them.

        Rows [S * points, H], those of a log side by side; of the S logs that have answers.
        """
        share = torch.arange(1, points + 1, device=mask.device)
        place = (mask.sum(1)[:, None] * share + points - 1) // points - 1
        row = torch.arange(len(mask), device=mask.device)[:, None].expand_as(place)
        return self.hidden[row[place >= 0], place[place >= 0]]


class QuestionNet(TracerNet):
    """LSTM over question vector + answer vector (eq. 11 of ExRec) under a `QuestionHead` (eq. 12).

    An exercise is the vector that it brings, else its question's where the question is known, else the mean of its
    concepts'. Gradients reach the vector from predictions, next states and mastery. Products and halves of whatever
    is asked are computed once for each distinct exercise; where no weight is trained, they are tabulated for all
    questions and concepts, and the half of a state is shared by its predictions and its mastery. Logs are run on the
    CPU by `lookup_lstm`, elsewhere by `nn.LSTM`: the same parameters, the same numbers. State: (h, c), [B, H] each.

    Args:
        table: The vectors.
        hidden_size: Width H of the state.
        head_size: Width U of the head's joint layer.
        dropout: On the state before the head while training, in [0, 1).

    >>> net = QuestionNet(QuestionTable(3, 2, 4), hidden_size=5, head_size=6).eval()
    >>> asked = Exercise(torch.tensor([[0]]), torch.tensor([2]))
    >>> state = net.observe(net.initial_state(1), asked, torch.tensor([1.0]))
    >>> net.predict(state, asked).shape, net.mastery(state).shape, net.item_logits(state).shape
    (torch.Size([1]), torch.Size([1, 2]), torch.Size([1, 3]))
    """

    reads_vectors = True

    def __init__(self, table: QuestionTable, hidden_size: int, head_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_concepts, self.hidden_size = table.num_concepts, hidden_size
        self.table = table
        self.answer = nn.Embedding(2, table.size)
        self.lstm = nn.LSTM(table.size, hidden_size, batch_first=True)
        self.head = QuestionHead(hidden_size, table.size, head_size)
        self.dropout = FastDropout(dropout)
        self._products = Tabulated(table, self._product, self._product_weights)
        self._answered = Tabulated(table, self._answered_product, self._answered_weights)
        self._scaled_weight = Memo()
        self._halves = Tabulated(table, self.head.vector_half, self.head.vector_weights)
        self._state_half = Memo()

    @torch.no_grad()
    def copy_weights(self, other: QuestionNet) -> None:
        """Take the values of another net's parameters."""
        for own, its in zip(self.parameters(), other.parameters()):
            own.copy_(its)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the weights by what they are for: memory, head, concepts' base, questions' own vectors, the map of
        given ones, queries."""
        found: dict[str, list[nn.Parameter | None]] = {
            "memory": [*self.answer.parameters(), *self.lstm.parameters()],
            "head": list(self.head.parameters()),
            "base": [self.table.base],
            "own": [self.table.own],
            "map": [self.table.map],
            "queries": [self.table.shift],
        }
        return {name: [one for one in weights if one is not None] for name, weights in found.items()}

    def asked_weights(self) -> list[nn.Parameter]:
        """Return the weights of LSTM, head and queries: the questions' vectors stay where actions point to."""
        parts = self.parts()
        return [*parts["memory"], *parts["head"], *parts["queries"]]

    def initial_state(self, batch_size: int) -> State:
        """Return zero states."""
        zeros = self.answer.weight.new_zeros(batch_size, self.hidden_size)
        return zeros, zeros

    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole right-padded histories."""
        if self.answer.weight.device.type != "cpu":
            inputs = self.table.vectors(Exercise(history.concept, history.item))
            inputs = inputs + self._answers(self.answer.weight, history.correct)
            return tuple(part[:, 0] for part in run_padded(self.lstm, inputs, history.mask)[1])
        packed = PackedRows.of(history.mask)
        asked, correct = Exercise(packed.pack(history.concept), packed.pack(history.item)), packed.pack(history.correct)
        start = self.initial_state(len(packed.order))
        if self._tabulates(correct):
            return tuple(part[packed.back] for part in self._looked_up(start, asked, correct, packed.batch_sizes))
        rows, index = self._products.find(asked)
        if len(rows) > len(index):
            distinct, index = torch.unique(index, return_inverse=True)
            rows = rows[distinct]
        return self._run(rows, index, correct, packed)[1]

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each, or after each of A possible answers; see `protocols.Tracer`."""
        if asked.item.dim() == 1 and self._tabulates(correct):
            return self._looked_up(state, asked, correct, [len(correct)])
        rows, index = self._products.find(asked.candidates())
        weights = layer_weights(self.lstm)
        answers = self._answers(F.linear(self.answer.weight, weights.weight_ih), correct.reshape(index.shape))
        new = recurrent_step(state, F.embedding(index, rows) + answers, weights)
        return tuple(part.flatten(0, 1) for part in new)

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers, [B] or [B, A]."""
        rows, index = self._halves.find(asked.candidates())
        return self.head.logits(self._half(state)[:, None], rows, index).sigmoid().view(asked.shape)

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the success probability of every concept [B, N], or of the concepts [B, M] only, [B * G, M]."""
        half = self._half(state)
        if concept is not None and torch.is_grad_enabled() and self.head.joint.weight.requires_grad:
            asked, concept = torch.unique(concept, return_inverse=True)  # trained: those asked about are computed anew
            concepts = self.head.vector_half(F.embedding(asked, self.table.concepts()))
        else:
            concepts = self._halves.concepts()[:-1]
        if concept is None:
            return self.head.logits(half[None], concepts)[0].sigmoid()
        groups = half.view(len(concept), len(half) // max(len(concept), 1), half.shape[1])
        return self.head.logits(groups, concepts, concept).flatten(0, 1).sigmoid()

    def item_logits(self, state: State) -> Tensor:
        """Return the logits of all questions, [B, Q]."""
        return self.head.logits(self._half(state)[None], self._halves.items()[:-1])[0]

    def trace(self, batch: InteractionBatch, kept: Tensor | None = None) -> Trace:
        """Run over whole logs; what stands under the mask changes nothing. For `kept` see `QuestionTable.items`."""
        packed = PackedRows.of(batch.mask)
        asked, index = self.table.distinct(Exercise(packed.pack(batch.concept), packed.pack(batch.item)))
        vectors, row = self.table.vectors(asked, kept), packed.unpack(index)
        if vectors.device.type == "cpu":
            hidden = packed.unpack(self._run(self._product(vectors), index, packed.pack(batch.correct), packed)[0])
        elif not len(index):
            hidden = vectors.new_zeros(*batch.mask.shape, self.hidden_size)
        else:
            hidden = self.lstm(vectors[row] + self._answers(self.answer.weight, batch.correct))[0]
            hidden = hidden * batch.mask[..., None]
        return Trace(hidden, vectors, row)

    def next_logits(self, batch: InteractionBatch, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the logits [R] of all real next answers, and each one's place in the flattened answers 1 … T - 1."""
        return self.trace_logits(self.trace(batch, kept), batch)

    def trace_logits(self, trace: Trace, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return the same from the trace of the batch."""
        following = batch.mask[:, 1:]
        half = self.head.state_half(self.dropout(trace.hidden[:, :-1][following]))
        place = following.flatten().nonzero().squeeze(1)
        return self.head.pairs(half, self.head.vector_half(trace.vectors), trace.row[:, 1:][following]), place

    @torch.no_grad()
    def group_success(
        self, hidden: Tensor, group: Tensor, questions: Tensor | None = None, most: int | None = None
    ) -> Tensor:
        """Return the mean success probability [B * S, M] over the questions of groups (eq. 14).

        Work grows with the questions of the groups asked about, not with all that there are.

        Args:
            hidden: S states for each of B rows, [B * S, H].
            group: Groups asked about, [B, M], all with questions.
            questions: The questions that stand for each group, [G, K]; None takes those of the group.
            most: Take at most so many questions of a group, evenly spaced among them; None takes all.
        """
        items, half, (rows, asked) = self._halves.items(), self.head.state_half(hidden), group.shape
        states = len(hidden) // max(rows, 1)
        half = half.view(rows, states, half.shape[1]).repeat_interleave(asked, 0)
        group, success = group.flatten(), hidden.new_empty(half.shape[:2])
        order = group.argsort()
        if questions is None:
            order = order[self.table.count[group[order]].argsort(descending=True, stable=True)]
        for some in torch.split(order, ROWS):
            if questions is None:
                chosen, real = self.table.spaced(group[some], most)
                chance = self.head.logits(half[some], items, chosen).sigmoid()
                success[some] = (chance * real[:, None]).sum(2) / real.sum(1)[:, None]
            else:
                success[some] = self.head.logits(half[some], items, questions[group[some]]).sigmoid().mean(2)
        return success.view(rows, asked, states).transpose(1, 2).reshape(len(hidden), asked)

    def _run(self, rows: Tensor, index: Tensor, correct: Tensor, packed: PackedRows) -> tuple[Tensor, State]:
        """Return hidden states [S, H] from the question products `rows[index]`, and the states [B, H] at the end."""
        start = self.initial_state(len(packed.order))
        if not len(index):
            return start[0].new_zeros(0, self.hidden_size), start
        weights = layer_weights(self.lstm)
        answers = F.linear(self.answer.weight, weights.weight_ih, weights.bias)
        more: tuple[Tensor, Tensor | None] = answers, (correct > 0.5).long()
        if correct.requires_grad or not bool(((correct == 0) | (correct == 1)).all()):
            more = self._answers(answers, correct), None
        hidden, last, cell = lookup_lstm(rows, index, weights.weight_hh, packed.batch_sizes, start[0], start[1], [more])
        return hidden, (last[packed.back], cell[packed.back])

    def _tabulates(self, correct: Tensor) -> bool:
        """Return whether products of both answers are looked up: answers of 0 or 1, no gradients, moderate memory."""
        numbers = 8 * self.hidden_size * (self.table.num_items + 1)
        if torch.is_grad_enabled() or correct.device.type != "cpu" or numbers > MOST_ANSWERED:
            return False
        return bool(((correct == 0) | (correct == 1)).all())

    def _looked_up(self, state: State, asked: Exercise, correct: Tensor, batch_sizes: list[int]) -> State:
        """Return the states [B, H] after answers of 0 or 1, packed in `batch_sizes`, [S]."""
        if not len(correct):
            return state
        with torch.autocast(correct.device.type, enabled=False):
            rows, index = self._answered.find(asked)
            weight = layer_weights(self.lstm).weight_hh
            scaled = self._scaled_weight([weight], lambda: weight * gate_scale(weight)[:, None])
            products = rows.view(2 * len(rows), len(scaled))
            return lookup_last(products, 2 * index + correct.long(), scaled, batch_sizes, state[0], state[1])

    def _answered_product(self, vectors: Tensor) -> Tensor:
        """Return what vectors [..., D] bring to the gates with either answer, bias and scale included, [..., 8H]."""
        weights = layer_weights(self.lstm)
        answers = F.linear(self.answer.weight, weights.weight_ih, weights.bias)
        both = F.linear(vectors, weights.weight_ih)[..., None, :] + answers
        return both.mul_(gate_scale(weights.weight_hh)).flatten(-2)

    def _answered_weights(self) -> list[Tensor]:
        weights = layer_weights(self.lstm)
        return [weights.weight_ih, weights.bias_ih, weights.bias_hh, self.answer.weight]

    def _half(self, state: State) -> Tensor:
        return self._state_half([state[0], *self.head.state_weights()], lambda: self.head.state_half(state[0]))

    def _product(self, vectors: Tensor) -> Tensor:
        """Return what vectors [..., D] bring to the gates."""
        return F.linear(vectors, layer_weights(self.lstm).weight_ih)

    def _product_weights(self) -> list[Tensor]:
        return [layer_weights(self.lstm).weight_ih]

    @staticmethod
    def _answers(table: Tensor, correct: Tensor) -> Tensor:
        """Return rows of `table` [2, …] for answers [...] in [0, 1], soft ones as mixtures."""
        return torch.lerp(table[0], table[1], correct[..., None].to(table.dtype))
