"""A recurrent net that can be run over whole logs or one answer at a time, with the same parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from lpr_lightning.nets.concept_sets import concept_sets, mean_rows
from lpr_lightning.nets.fused_lstm import lookup_lstm
from lpr_lightning.nets.live_rows import LiveRows
from lpr_lightning.types import PAD


class InteractionLSTM(nn.Module):
    """LSTM over (concept, answer) pairs; an answer on several concepts is the mean of their embeddings.

    Parameters are those of `nn.Embedding` and `nn.LSTM`, behind two engines: on the CPU `lookup_lstm`, which computes
    recurrent products only, of real steps only; elsewhere `nn.LSTM` itself. Both give the same numbers and gradients.
    For single steps the input products of the first layer are tabulated once per (concept, answer), so that a step is
    one recurrent product and a lookup. Soft answers in (0, 1) are mixtures of the two rows. State: `h` and `c`,
    [B, layers, H] each; zero at the start.

    >>> net = InteractionLSTM(num_concepts=3, embedding_size=4, hidden_size=5)
    >>> concept, correct = torch.tensor([[0, 2]]), torch.tensor([[1.0, 0.0]])
    >>> whole = net(concept[..., None], correct)
    >>> state = net.initial_state(1)
    >>> for step in range(2):
    ...     state = net.step(state, concept[:, step, None], correct[:, step])
    >>> torch.allclose(whole[:, -1], state[0][:, -1], atol=1e-6)
    True
    """

    def __init__(
        self, num_concepts: int, embedding_size: int, hidden_size: int, num_layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.num_concepts, self.hidden_size, self.num_layers = num_concepts, hidden_size, num_layers
        self.embedding = nn.Embedding(2 * num_concepts, embedding_size)
        self.lstm = nn.LSTM(
            embedding_size, hidden_size, num_layers, batch_first=True, dropout=dropout if num_layers > 1 else 0.0
        )
        self._tabulated: tuple[tuple[int, ...], Tensor] | None = None

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.embedding.reset_parameters()
        self.lstm.reset_parameters()

    def forward(self, concept: Tensor, correct: Tensor) -> Tensor:
        """Return the hidden state [B, T, H] after each answer; `concept` [B, T, C], `correct` [B, T]."""
        rows = LiveRows.of(torch.ones_like(correct, dtype=torch.bool))
        return rows.unpack(self.live(concept, correct, rows))

    def live(self, concept: Tensor, correct: Tensor, rows: LiveRows) -> Tensor:
        """Return the hidden states [S, H] after the real steps only, in the order of `rows`."""
        if self._tabulates:
            return self._run(rows.pack(concept), rows.pack(correct), rows.batch_sizes)[0]
        if not len(rows.token):
            return self.embedding.weight.new_zeros(0, self.hidden_size)
        output: Tensor = self.lstm(self._mix(self.embedding.weight, concept, correct))[0]
        return rows.pack(output)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return zero states."""
        zeros = self.embedding.weight.new_zeros(batch_size, self.num_layers, self.hidden_size)
        return zeros, zeros

    def encode(self, concept: Tensor, correct: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state after whole right-padded logs; only steps that are real are computed."""
        hidden, cell = (part.clone() for part in self.initial_state(mask.shape[0]))
        rows = LiveRows.of(mask)
        if not rows.batch_sizes:
            return hidden, cell
        going = rows.order[: rows.batch_sizes[0]]
        if self._tabulates:
            _, last, last_cell = self._run(rows.pack(concept), rows.pack(correct), rows.batch_sizes)
        else:
            steps = self._mix(self.embedding.weight, concept[going], correct[going])
            lengths = mask[going].sum(1).cpu()
            _, (last, last_cell) = self.lstm(pack_padded_sequence(steps, lengths, batch_first=True))
        return hidden.index_copy(0, going, last.transpose(0, 1)), cell.index_copy(0, going, last_cell.transpose(0, 1))

    def step(self, state: tuple[Tensor, Tensor], concept: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state after one answer each; `concept` [B, C], `correct` [B]."""
        return self._advance(state, self._mix(self._table(), concept, correct, biased=True)[:, None])

    def branch(self, state: tuple[Tensor, Tensor], concept: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states [B * A, layers, H] after each of A possible answers; `concept` and `correct` [B, A].

        The recurrent products are the same for all answers of a row and are computed once.
        """
        return self._advance(state, self._mix(self._table(), concept[..., None], correct, biased=True))

    @property
    def _tabulates(self) -> bool:
        """Whether this device is served by `lookup_lstm`."""
        return self.embedding.weight.device.type == "cpu"

    def _run(self, concept: Tensor, correct: Tensor, batch_sizes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return all hidden states [S, H] of the last layer and the last states [layers, B, H], longest row first."""
        table, index = self._products(concept, correct)
        hidden, last, last_cell = lookup_lstm(table, index, self._weight("weight_hh", 0), batch_sizes)
        layers = [(last, last_cell)]
        for layer in range(1, self.num_layers):
            below = F.dropout(hidden, self.lstm.dropout, self.training)
            table = F.linear(below, self._weight("weight_ih", layer), self._bias(layer))
            hidden, last, last_cell = lookup_lstm(table, None, self._weight("weight_hh", layer), batch_sizes)
            layers.append((last, last_cell))
        return hidden, torch.stack([one for one, _ in layers]), torch.stack([one for _, one in layers])

    def _products(self, concept: Tensor, correct: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return input products of the first layer, and which of them belongs to each of S steps (None: its own)."""
        if not bool(((correct == 0) | (correct == 1)).all()):
            return self._project(self._mix(self.embedding.weight, concept, correct)), None
        plain = concept.shape[1] == 1 and bool((concept >= 0).all())
        if plain and 2 * self.num_concepts <= len(concept):
            return self._table(), concept[:, 0] + self.num_concepts * (correct > 0.5)
        sets, index = concept_sets(concept, self.num_concepts, correct)
        pair = torch.where(sets[:, :-1] >= 0, sets[:, :-1] + self.num_concepts * sets[:, -1:], PAD)
        return self._project(mean_rows(self.embedding.weight, pair)), index

    def _project(self, embedded: Tensor) -> Tensor:
        """Return the first layer's input products of `embedded` [U, E], biases included."""
        return F.linear(embedded, self._weight("weight_ih", 0), self._bias(0))

    def _advance(self, state: tuple[Tensor, Tensor], projected: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states [B * A, layers, H] that the input products [B, A, 4H] of the first layer lead to."""
        hidden: list[Tensor] = []
        cell: list[Tensor] = []
        act = (torch.sigmoid, torch.tanh) if torch.is_grad_enabled() else (torch.sigmoid_, torch.tanh_)
        for layer in range(self.num_layers):
            if layer:
                projected = F.linear(hidden[-1], self._weight("weight_ih", layer), self._bias(layer))
            gates = projected + F.linear(state[0][:, layer], self._weight("weight_hh", layer))[:, None]
            entry, forget, candidate, output = gates.chunk(4, -1)
            new = act[0](forget) * state[1][:, layer, None] + act[0](entry) * act[1](candidate)
            cell.append(new)
            hidden.append(act[0](output) * new.tanh())
        return torch.stack(hidden, 2).flatten(0, 1), torch.stack(cell, 2).flatten(0, 1)

    def _weight(self, name: str, layer: int) -> Tensor:
        weight: Tensor = getattr(self.lstm, f"{name}_l{layer}")
        return weight

    def _bias(self, layer: int) -> Tensor:
        return self._weight("bias_ih", layer) + self._weight("bias_hh", layer)

    def _mix(self, table: Tensor, concept: Tensor, correct: Tensor, biased: bool = False) -> Tensor:
        """Return the mean over concepts of `table`'s rows, interpolated between wrong and right; -1 is left out.

        Answers without any concept get zero, or the first layer's bias where `table` is `biased`.
        """
        known = concept >= 0
        index = concept.clamp_min(0)
        correct = correct[..., None]
        if bool(((correct == 0) | (correct == 1)).all()):
            rows = F.embedding(index + self.num_concepts * (correct > 0.5), table)
        else:
            rows = torch.lerp(
                F.embedding(index, table), F.embedding(index + self.num_concepts, table), correct[..., None]
            )
        if concept.shape[-1] == 1:
            mixed, some = rows[..., 0, :], known
        else:
            weight = known.to(rows.dtype) / known.sum(-1, keepdim=True).clamp_min(1)
            mixed, some = (rows * weight[..., None]).sum(-2), known.any(-1, keepdim=True)
        return mixed if bool(some.all()) else torch.where(some, mixed, self._bias(0) if biased else 0.0)

    def _table(self) -> Tensor:
        """Return the first layer's input product of every (concept, answer), [2N, 4H]; kept until weights change."""
        weights = [self.embedding.weight, *(self._weight(name, 0) for name in ("weight_ih", "bias_ih", "bias_hh"))]
        if torch.is_grad_enabled():
            return self._project(self.embedding.weight)
        versions = tuple(n for w in weights for n in (0 if w.is_inference() else w._version, w.data_ptr()))
        if self._tabulated is None or self._tabulated[0] != versions:
            self._tabulated = versions, self._project(self.embedding.weight)
        return self._tabulated[1]
