"""A recurrent net over answers to questions, whose state is asked about questions and concepts alike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.nets.fused_lstm import LiveRows, lookup_lstm
from lpr_lightning.nets.kept import Kept
from lpr_lightning.nets.question_head import QuestionHead
from lpr_lightning.nets.question_table import QuestionTable
from lpr_lightning.types import InteractionBatch, TracerState


class Trace(NamedTuple):
    """A net's run over whole logs: `hidden` [B, T, H] after each answer; `vectors` [U, D], the distinct vectors of
    the logs' questions, and `row` [B, T], each answer's among them; the state at the end, (h, c) [B, H] each.
    """

    hidden: Tensor
    vectors: Tensor
    row: Tensor
    state: tuple[Tensor, Tensor]

    def at(self, mask: Tensor, points: int) -> Tensor:
        """Return the hidden states [S, H] at `points` evenly spaced answers of each log, the last one among them."""
        share = torch.arange(1, points + 1, device=mask.device)
        place = (mask.sum(1)[:, None] * share + points - 1) // points - 1
        row = torch.arange(len(mask), device=mask.device)[:, None].expand_as(place)
        return self.hidden[row[place >= 0], place[place >= 0]]


class QuestionNet(nn.Module):
    """LSTM over question vector + answer vector (eq. 11 of ExRec) under a `QuestionHead` (eq. 12).

    Input products are computed for the distinct questions of a batch only; on CPU they are looked up step by step,
    elsewhere `nn.LSTM` runs over the inputs: the same parameters, the same numbers. For single steps and for mastery,
    products and halves of all concepts or questions are kept until weights change. State: (h, c), [B, H] each.

    Args:
        table: The vectors.
        hidden_size: Width H of the state.
        head_size: Width of the head's joint layer.

    >>> net = QuestionNet(QuestionTable(3, 2, 4), hidden_size=5, head_size=6).eval()
    >>> with torch.no_grad():
    ...     state = net.observe_items(net.initial_state(1), torch.tensor([[2]]), torch.tensor([[1.0]]))
    ...     net.concept_logits(state).shape, net.item_logits(state).shape
    (torch.Size([1, 2]), torch.Size([1, 3]))
    """

    def __init__(self, table: QuestionTable, hidden_size: int, head_size: int) -> None:
        super().__init__()
        self.table = table
        self.hidden_size = hidden_size
        self.answer = nn.Embedding(2, table.size)
        self.lstm = nn.LSTM(table.size, hidden_size, batch_first=True)
        self.head = QuestionHead(hidden_size, table.size, head_size)
        self._concept_halves, self._item_halves = Kept(), Kept()
        self._concept_products, self._item_products = Kept(), Kept()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for part in (self.table, self.answer, self.lstm, self.head):
            part.reset_parameters()

    @torch.no_grad()
    def copy_weights(self, other: QuestionNet) -> None:
        """Take the values of another net's parameters."""
        for own, its in zip(self.parameters(), other.parameters()):
            own.copy_(its)

    def forward(self, batch: InteractionBatch, with_state: bool = False) -> Trace:
        """Run over whole logs; what stands under the mask changes nothing. The last state only where it is asked for:
        without `with_state` it may be zero.
        """
        live = LiveRows.of(batch.mask)
        vectors, packed_row = self.table.find(live.pack(batch.item), live.pack(batch.concept))
        row, correct = live.unpack(packed_row), live.pack(batch.correct)
        if vectors.device.type == "cpu":
            hidden, state = self._by_lookup(vectors, packed_row, correct, live)
        else:
            inputs = vectors[row] + self._answers(self.answer.weight, batch.correct)
            hidden, state = self._by_lstm(inputs, batch.mask, with_state)
        return Trace(hidden, vectors, row, state)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return zero states."""
        zeros = self.answer.weight.new_zeros(batch_size, self.hidden_size)
        return zeros, zeros

    def next_logits(self, trace: Trace, batch: InteractionBatch, hidden: Tensor | None = None) -> Tensor:
        """Return the logits of all next answers in row order; from states `hidden` [S, H] of theirs, where given."""
        following = batch.mask[:, 1:]
        half = self.head.state_half(trace.hidden[:, :-1][following] if hidden is None else hidden)
        return self.head.pairs(half, self.head.vector_half(trace.vectors), trace.row[:, 1:][following])

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return the weights by what they are for: memory, head, concepts' base, questions' own vectors, queries."""
        found: dict[str, list[nn.Parameter | None]] = {
            "memory": [*self.answer.parameters(), *self.lstm.parameters()],
            "head": list(self.head.parameters()),
            "base": [self.table.base],
            "own": [self.table.own],
            "queries": [self.table.shift],
        }
        return {name: [one for one in weights if one is not None] for name, weights in found.items()}

    def observe_items(self, state: TracerState, item: Tensor, correct: Tensor) -> TracerState:
        """Return the states [B * A, H] after each of A possible answers to questions [B, A]."""
        if torch.is_grad_enabled():
            return self._advance(state, self._products(self.table.items(item)), correct)
        products = self._item_products(self._input_weights(), lambda: self._products(self.table.all_items()))
        return self._advance(state, F.embedding(item, products), correct)

    def observe_concepts(self, state: TracerState, concept: Tensor, correct: Tensor) -> TracerState:
        """Return the states [B * A, H] after each of A possible answers [B, A, C]; several concepts count as their
        mean, -1 is left out.
        """
        products = self._concept_products(self._input_weights(), lambda: self._products(self.table.concepts()))
        if concept.shape[-1] == 1 and bool((concept >= 0).all()):
            return self._advance(state, F.embedding(concept[..., 0], products), correct)
        known = (concept >= 0)[..., None]
        rows = (F.embedding(concept.clamp_min(0), products) * known).sum(-2)
        return self._advance(state, rows / known.sum(-2).clamp_min(1), correct)

    def concept_logits(self, state: TracerState) -> Tensor:
        """Return the logits of all concepts, [B, N]."""
        return self.head.grid(self.head.state_half(state[0]), self.concept_halves())

    def item_logits(self, state: TracerState) -> Tensor:
        """Return the logits of all questions, [B, Q]."""
        return self.head.grid(self.head.state_half(state[0]), self.item_halves())

    def concept_halves(self) -> Tensor:
        """Return what the concepts bring to the head's joint layer, [N, U]."""
        weights = [*self.table.weights(), *self.head.parameters()]
        return self._concept_halves(weights, lambda: self.head.vector_half(self.table.concepts()))

    def item_halves(self) -> Tensor:
        """Return what the questions bring to the head's joint layer, [Q, U]."""
        weights = [*self.table.weights(), *self.head.parameters()]
        return self._item_halves(weights, lambda: self.head.vector_half(self.table.all_items()))

    def concept_pairs(self, state: TracerState, concept: Tensor) -> Tensor:
        """Return the logits [B, C] of concepts [B, C], one learner's in each row; concepts of -1 count as 0."""
        half = self.head.state_half(state[0]).repeat_interleave(concept.shape[1], 0)
        return self.head.pairs(half, self.concept_halves(), concept.clamp_min(0).flatten()).view(concept.shape)

    def item_pairs(self, state: TracerState, item: Tensor) -> Tensor:
        """Return the logits [B] of questions [B]."""
        half = self.head.state_half(state[0])
        if torch.is_grad_enabled():
            own_half = self.head.vector_half(self.table.items(item))
            return self.head.pairs(half, own_half, torch.arange(len(item), device=item.device))
        return self.head.pairs(half, self.item_halves(), item)

    @torch.no_grad()
    def group_success(self, hidden: Tensor, group: Tensor, questions: Tensor | None) -> Tensor:
        """Return the mean success probability [S] over questions of the groups `group` [S] (eq. 14).

        Args:
            hidden: States [S, H].
            group: Group asked about in each state.
            questions: The questions that stand for each group, [G, K]; None takes all of each group.
        """
        half, items = self.head.state_half(hidden), self.item_halves()
        success = hidden.new_empty(len(hidden))
        sizes = torch.bincount(group, minlength=len(self.table.count)).tolist()
        for number, states in enumerate(torch.split(group.argsort(), sizes)):
            if len(states):
                chosen = self.table.questions_of(number) if questions is None else questions[number]
                success[states] = self.head.grid(half[states], items[chosen]).sigmoid().mean(1)
        return success

    def _by_lookup(
        self, vectors: Tensor, row: Tensor, correct: Tensor, live: LiveRows
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return hidden states [B, T, H] and the last states of live rows."""
        start = self.initial_state(len(live.order))
        if not len(row):
            return start[0][:, None].expand(-1, live.steps, -1), start
        products, answers = self._products(vectors), F.linear(self.answer.weight, self._weight("weight_ih"))
        more: tuple[Tensor, Tensor | None] = answers, (correct > 0.5).long()
        if not bool(((correct == 0) | (correct == 1)).all()):
            more = self._answers(answers, correct), None
        weight = self._weight("weight_hh")
        hidden, last, cell = lookup_lstm(products, row, weight, live.batch_sizes, *start, more=[more])
        return live.unpack(hidden), (last[live.back], cell[live.back])

    def _by_lstm(self, inputs: Tensor, mask: Tensor, with_state: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the same by `nn.LSTM` over inputs [B, T, D]; last states, which need packing, only where asked."""
        start = self.initial_state(len(mask))
        if not mask.shape[1]:
            return inputs.new_zeros(len(mask), 0, self.hidden_size), start
        if not with_state:
            return self.lstm(inputs)[0], start
        lengths = mask.sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(
            inputs, lengths.clamp_min(1).cpu(), batch_first=True, enforce_sorted=False
        )
        output, (last, cell) = self.lstm(packed)
        hidden, _ = nn.utils.rnn.pad_packed_sequence(output, batch_first=True, total_length=mask.shape[1])
        going = (lengths > 0)[:, None]
        return hidden, (torch.where(going, last[0], 0.0), torch.where(going, cell[0], 0.0))

    def _advance(self, state: TracerState, products: Tensor, correct: Tensor) -> TracerState:
        """Return the states [B * A, H] that question products [B, A, 4H] and answers [B, A] lead to."""
        gates = products + self._answers(F.linear(self.answer.weight, self._weight("weight_ih")), correct)
        gates = gates + F.linear(state[0], self._weight("weight_hh"))[:, None]
        entry, forget, candidate, output = gates.chunk(4, -1)
        cell = forget.sigmoid() * state[1][:, None] + entry.sigmoid() * candidate.tanh()
        hidden = output.sigmoid() * cell.tanh()
        return hidden.flatten(0, 1), cell.flatten(0, 1)

    def _products(self, vectors: Tensor) -> Tensor:
        """Return what vectors [..., D] bring to the gates, biases included."""
        return F.linear(vectors, self._weight("weight_ih"), self._weight("bias_ih") + self._weight("bias_hh"))

    def _input_weights(self) -> list[Tensor]:
        return [*self.table.weights(), *(self._weight(name) for name in ("weight_ih", "bias_ih", "bias_hh"))]

    def _weight(self, name: str) -> Tensor:
        weight: Tensor = getattr(self.lstm, f"{name}_l0")
        return weight

    @staticmethod
    def _answers(table: Tensor, correct: Tensor) -> Tensor:
        """Return rows of `table` [2, …] for answers [...] in [0, 1], soft ones as mixtures."""
        return torch.lerp(table[0], table[1], correct[..., None])
