"""A recurrent net that can be run over whole logs or one answer at a time, with the same parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class InteractionLSTM(nn.Module):
    """LSTM over (concept, answer) pairs; an answer on several concepts is the mean of their embeddings.

    Parameters are those of `nn.Embedding` and `nn.LSTM`. For single steps the input products of the first layer are
    tabulated once per (concept, answer), so that a step is one recurrent product and a lookup. Soft answers in
    (0, 1) are mixtures of the two rows. State: `h` and `c`, [B, layers, H] each; zero at the start.

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
        output: Tensor = self.lstm(self._mix(self.embedding.weight, concept, correct))[0]
        return output

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return zero states."""
        zeros = self.embedding.weight.new_zeros(batch_size, self.num_layers, self.hidden_size)
        return zeros, zeros

    def encode(self, concept: Tensor, correct: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state after whole right-padded logs; only rows that are still going on are computed."""
        hidden, cell = self.initial_state(mask.shape[0])
        lengths, order = mask.sum(1).sort(descending=True)
        concept, correct = concept[order], correct[order]
        live_counts = (lengths[None] > torch.arange(mask.shape[1], device=mask.device)[:, None]).sum(1).tolist()
        hidden, cell = hidden.clone(), cell.clone()
        for step, live in enumerate(live_counts):
            if live == 0:
                break
            hidden[:live], cell[:live] = self.step(
                (hidden[:live], cell[:live]), concept[:live, step], correct[:live, step]
            )
        back = order.argsort()
        return hidden[back], cell[back]

    def step(self, state: tuple[Tensor, Tensor], concept: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state after one answer each; `concept` [B, C], `correct` [B]."""
        return self._advance(state, self._mix(self._table(), concept, correct)[:, None])

    def branch(self, state: tuple[Tensor, Tensor], concept: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states [B * A, layers, H] after each of A possible answers; `concept` and `correct` [B, A].

        The recurrent products are the same for all answers of a row and are computed once.
        """
        return self._advance(state, self._mix(self._table(), concept[..., None], correct))

    def _advance(self, state: tuple[Tensor, Tensor], projected: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states [B * A, layers, H] that the input products [B, A, 4H] of the first layer lead to."""
        hidden: list[Tensor] = []
        cell: list[Tensor] = []
        act = (torch.sigmoid, torch.tanh) if torch.is_grad_enabled() else (torch.sigmoid_, torch.tanh_)
        for layer in range(self.num_layers):
            if layer:
                projected = F.linear(hidden[-1], self._weight("weight_ih", layer), self._weight("bias_ih", layer))
                projected = projected + self._weight("bias_hh", layer)
            gates = projected + F.linear(state[0][:, layer], self._weight("weight_hh", layer))[:, None]
            entry, forget, candidate, output = gates.chunk(4, -1)
            new = act[0](forget) * state[1][:, layer, None] + act[0](entry) * act[1](candidate)
            cell.append(new)
            hidden.append(act[0](output) * new.tanh())
        return torch.stack(hidden, 2).flatten(0, 1), torch.stack(cell, 2).flatten(0, 1)

    def _weight(self, name: str, layer: int) -> Tensor:
        weight: Tensor = getattr(self.lstm, f"{name}_l{layer}")
        return weight

    def _mix(self, table: Tensor, concept: Tensor, correct: Tensor) -> Tensor:
        """Return the mean over concepts of `table`'s rows, interpolated between wrong and right; -1 is left out."""
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
            return rows[..., 0, :] if bool(known.all()) else torch.where(known, rows[..., 0, :], 0.0)
        weight = known / known.sum(-1, keepdim=True).clamp_min(1)
        return (rows * weight[..., None]).sum(-2)

    def _table(self) -> Tensor:
        """Return the first layer's input product of every (concept, answer), [2N, 4H]; kept until weights change."""
        weights = [self.embedding.weight, *(self._weight(name, 0) for name in ("weight_ih", "bias_ih", "bias_hh"))]
        if torch.is_grad_enabled():
            return F.linear(weights[0], weights[1], weights[2] + weights[3])
        versions = tuple(n for w in weights for n in (0 if w.is_inference() else w._version, w.data_ptr()))
        if self._tabulated is None or self._tabulated[0] != versions:
            self._tabulated = versions, F.linear(weights[0], weights[1], weights[2] + weights[3])
        return self._tabulated[1]
