"""Deep knowledge tracing over (concept, answer) pairs, over whole logs or one answer at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.nets.asked_logits import asked_logits
from lpr_lightning.nets.concept_rows import answer_rows, concept_sets, mean_rows
from lpr_lightning.nets.fused_lstm import PackedRows, lookup_lstm
from lpr_lightning.nets.memo import Memo
from lpr_lightning.nets.recurrent import layer_weights, recurrent_step, run_padded
from lpr_lightning.nets.tracer_net import TracerNet
from lpr_lightning.types import PAD, Exercise, InteractionBatch, State

_GATHERED = 16
"""Concepts whose logits cost as much to compute by one matrix product as one gathered row of weights."""


class DKTNet(TracerNet):
    """LSTM over (concept, answer) pairs under a linear layer of one logit a concept (Piech et al. 2015).

    An answer on several concepts is one input, the mean of their embeddings, and one prediction, the mean of their
    logits; items and vectors of exercises are ignored. Parameters are those of `nn.Embedding`, `nn.LSTM` and
    `nn.Linear`, behind two engines: on the CPU `lookup_lstm`, which computes recurrent products only, of real steps
    only; elsewhere `nn.LSTM` itself. Both give the same numbers and gradients. For single steps the input products of
    the first layer are tabulated for every (concept, answer), so that a step is one recurrent product and a lookup.
    State: (h, c), [B, layers, H] each.

    Args:
        num_concepts: N.
        embedding_size: Width of the embedding of a (concept, answer).
        hidden_size: H.
        num_layers: LSTM layers.
        dropout: On the output of each layer while training, in [0, 1).

    >>> net = DKTNet(num_concepts=3, embedding_size=4, hidden_size=5)
    >>> state = net.observe(net.initial_state(2), Exercise.of_concepts(torch.tensor([0, 2])), torch.tensor([1.0, 0.0]))
    >>> net.mastery(state).shape, net.predict(state, Exercise.of_concepts(torch.tensor([[0, 1, 2, 2]] * 2))).shape
    (torch.Size([2, 3]), torch.Size([2, 4]))
    """

    def __init__(
        self, num_concepts: int, embedding_size: int, hidden_size: int, num_layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.num_concepts, self.hidden_size = num_concepts, hidden_size
        self.num_layers, self.dropout = num_layers, dropout
        self.embedding = nn.Embedding(2 * num_concepts, embedding_size)
        between = dropout if num_layers > 1 else 0.0
        self.lstm = nn.LSTM(embedding_size, hidden_size, num_layers, batch_first=True, dropout=between)
        self.head = nn.Linear(hidden_size, num_concepts)
        self._products = Memo()

    def initial_state(self, batch_size: int) -> State:
        """Return zero states."""
        zeros = self.embedding.weight.new_zeros(batch_size, self.num_layers, self.hidden_size)
        return zeros, zeros

    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole right-padded histories; only real steps are computed."""
        if not self._fused:
            return run_padded(self.lstm, self._embedded(history.concept, history.correct), history.mask)[1]
        rows, start = PackedRows.of(history.mask), self.initial_state(len(history))
        if not rows.batch_sizes:
            return start
        last = self._run(rows.pack(history.concept), rows.pack(history.correct), rows.batch_sizes)[1]
        going = rows.order[: rows.batch_sizes[0]]
        return tuple(zeros.index_copy(0, going, part) for zeros, part in zip(start, last))

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each, or after each of A possible answers; see `protocols.Tracer`."""
        concept = asked.concept if asked.concept.dim() > 2 else asked.concept[:, None]
        product = answer_rows(self._table(), concept, correct.reshape(concept.shape[:-1]))
        layers: list[State] = []
        for layer in range(self.num_layers):
            weights = layer_weights(self.lstm, layer)
            if layer:
                product = F.linear(layers[-1][0], weights.weight_ih)
            layers.append(recurrent_step(tuple(part[:, layer] for part in state), product, weights))
        return tuple(torch.stack(parts, 2).flatten(0, 1) for parts in zip(*layers))

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers, [B] or [B, A]."""
        hidden, weight, bias = state[0][:, -1], self.head.weight, self.head.bias
        if asked.concept.dim() == 2:
            return asked_logits(hidden, weight, bias, asked.concept).sigmoid()
        count = asked.concept.shape[1]
        if self.num_concepts > _GATHERED * count:
            rows = asked_logits(hidden.repeat_interleave(count, 0), weight, bias, asked.concept.flatten(0, 1))
            return rows.view(-1, count).sigmoid()
        first = torch.arange(len(hidden), device=hidden.device)[:, None, None] * self.num_concepts
        place = torch.where(asked.concept >= 0, asked.concept + first, PAD)
        return mean_rows(self.head(hidden).view(-1, 1), place).squeeze(-1).sigmoid()

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the success probability of every concept [B, N], or of the concepts [B, M] only, [B * G, M]."""
        hidden = state[0][:, -1]
        if concept is None:
            logit: Tensor = self.head(hidden)
            return logit.sigmoid()
        groups = hidden.view(len(concept), len(hidden) // max(len(concept), 1), self.hidden_size)
        weight, bias = self.head.weight[concept], self.head.bias[concept]
        return torch.baddbmm(bias[:, None], groups, weight.transpose(1, 2)).sigmoid().flatten(0, 1)

    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return the logits [R] of all real next answers, and each one's place in the flattened answers 1 … T - 1."""
        hidden, rows = self.hidden_before(batch)
        return self.logits_of(hidden, rows.pack(batch.concept[:, 1:])), rows.place

    def hidden_before(self, batch: InteractionBatch) -> tuple[Tensor, PackedRows]:
        """Return the hidden states [R, H] of the last layer before all real answers 1 … T - 1, and where these lie."""
        rows = PackedRows.of(batch.mask[:, 1:])
        concept, correct = batch.concept[:, :-1], batch.correct[:, :-1]
        if self._fused:
            return self._run(rows.pack(concept), rows.pack(correct), rows.batch_sizes)[0], rows
        if rows.batch_sizes:
            return rows.pack(self.lstm(self._embedded(concept, correct))[0]), rows
        return self.embedding.weight.new_zeros(0, self.hidden_size), rows

    def logits_of(self, hidden: Tensor, asked: Tensor) -> Tensor:
        """Return the logits [R] of answers on concepts `asked` [R, C] after hidden states [R, H], with dropout."""
        dropout = self.dropout if self.training else 0.0
        return asked_logits(hidden, self.head.weight, self.head.bias, asked, dropout)

    @property
    def _fused(self) -> bool:
        """Whether this device is served by `lookup_lstm`."""
        return self.embedding.weight.device.type == "cpu"

    def _run(self, concept: Tensor, correct: Tensor, batch_sizes: list[int]) -> tuple[Tensor, State]:
        """Return all hidden states [S, H] of the last layer and the last states [B, layers, H], longest row first."""
        below, layers = self.embedding.weight.new_zeros(0, self.hidden_size), []
        for layer in range(self.num_layers):
            weights = layer_weights(self.lstm, layer)
            if layer:
                below = F.dropout(below, self.dropout, self.training)
                table, index = F.linear(below, weights.weight_ih, weights.bias), None
            else:
                table, index = self._inputs(concept, correct)
            below, *last = lookup_lstm(table, index, weights.weight_hh, batch_sizes)
            layers.append(last)
        return below, tuple(torch.stack(parts, 1) for parts in zip(*layers))

    def _inputs(self, concept: Tensor, correct: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the first layer's input products, bias included, and which one each of S steps has (None: its own)."""
        weights, soft = layer_weights(self.lstm), not bool(((correct == 0) | (correct == 1)).all())
        if soft or correct.requires_grad:
            return F.linear(self._embedded(concept, correct), weights.weight_ih, weights.bias), None
        if concept.shape[1] == 1 and 2 * self.num_concepts <= len(concept) and bool((concept >= 0).all()):
            return self._table() + weights.bias, concept[:, 0] + self.num_concepts * (correct > 0.5)
        sets, index = concept_sets(concept, self.num_concepts, correct)
        pair = torch.where(sets[:, :-1] >= 0, sets[:, :-1] + self.num_concepts * sets[:, -1:], PAD)
        return F.linear(mean_rows(self.embedding.weight, pair), weights.weight_ih, weights.bias), index

    def _embedded(self, concept: Tensor, correct: Tensor) -> Tensor:
        return answer_rows(self.embedding.weight, concept, correct)

    def _table(self) -> Tensor:
        """Return the first layer's input product of every (concept, answer), [2N, 4H], without bias."""
        weight, embedding = layer_weights(self.lstm).weight_ih, self.embedding.weight
        return self._products([embedding, weight], lambda: F.linear(embedding, weight))
