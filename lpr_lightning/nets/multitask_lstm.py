"""One recurrent net that reads a history, and two that go on from there: what comes next, and how it will go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments
from lpr_lightning.nets.path_search import search_path
from lpr_lightning.types import PAD, InteractionBatch, TracerState

Cell = Literal["lstm", "rnn"]
Decoder = Literal["autoregressive", "direct", "shared"]
STEPS = 64
"""The longest path that a `direct` decoder can say."""


class MultiTaskNet(HyperparametersMixin, nn.Module):
    """A shared recurrent net over (concept, answer) pairs, a path branch and a tracing branch (arXiv 2507.05295).

    The state of a learner is that of the shared net after the history, one tensor [B, H] for each part (`h`, `c`).
    Both branches are recurrent nets of their own that start from it:

    - The path branch says a distribution over concepts at every step. Its input is the concept before
      (`decoder="autoregressive"`) or only the number of the step (`"direct"`). With `"shared"` there is no branch: the
      net that read the history reads its own recommendations on, as entries without an answer.
    - The tracing branch reads the concepts of a path and says at each the probability of success, from the history and
      the concepts up to it; answers on the way are not seen, as they are not when a path is recommended.

    As a tracer (`KnowledgeTracer`) the state is carried on answer by answer, and an answer is predicted by the first
    step of the tracing branch.

    Args:
        num_concepts: N.
        embedding_size: width of all embeddings.
        hidden_size: H, width of all recurrent nets.
        cell: `lstm` or `rnn` (tanh), for all of them.
        decoder: what the path branch is.
        dropout: on inputs and outputs of the path branch.

    >>> net = MultiTaskNet(num_concepts=4, embedding_size=3, hidden_size=5)
    >>> state = net.initial_state(2)
    >>> path = torch.tensor([[0, 1], [2, 2]])
    >>> net.path_logit(state, torch.tensor([3, -1]), path).shape, net.trace(state, path).shape, net.mastery(state).shape
    (torch.Size([2, 2, 4]), torch.Size([2, 2]), torch.Size([2, 4]))
    """

    def __init__(
        self,
        num_concepts: int,
        embedding_size: int = 128,
        hidden_size: int = 64,
        cell: Cell = "lstm",
        decoder: Decoder = "autoregressive",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        kinds: dict[str, Any] = {"lstm": nn.LSTM, "rnn": nn.RNN}
        if cell not in kinds:
            raise SettingError("cell", cell, "lstm or rnn")
        if decoder not in ("autoregressive", "direct", "shared"):
            raise SettingError("decoder", decoder, "autoregressive, direct or shared")
        self.num_concepts, self.hidden_size, self.decoder = num_concepts, hidden_size, decoder
        self.answers = nn.Embedding(2 * num_concepts, embedding_size)
        self.steps = nn.Embedding(STEPS if decoder == "direct" else num_concepts + 1, embedding_size)
        self.asked = nn.Embedding(num_concepts, embedding_size)
        self.shared = kinds[cell](embedding_size, hidden_size, batch_first=True)
        if decoder != "shared":
            self.path = kinds[cell](embedding_size, hidden_size, batch_first=True)
        self.tracing = kinds[cell](embedding_size, hidden_size, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.path_head = nn.Linear(hidden_size, num_concepts)
        self.tracing_head = nn.Linear(hidden_size, 1)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for part in self.children():
            if isinstance(part, nn.Embedding | nn.Linear | nn.RNNBase):
                part.reset_parameters()

    def initial_state(self, batch_size: int) -> TracerState:
        """Return zero states."""
        zeros = self.answers.weight.new_zeros(batch_size, self.hidden_size)
        return (zeros, zeros) if isinstance(self.shared, nn.LSTM) else (zeros,)

    def encode(self, history: InteractionBatch) -> TracerState:
        """Return the state after whole right-padded histories."""
        if not len(history) or history.mask.shape[1] == 0:
            return self.initial_state(len(history))
        rows = self._answered(history.concept, history.correct)
        if bool(history.mask.all()):
            return _state_of(self.shared(rows)[1])
        lengths = history.lengths
        packed = pack_padded_sequence(rows, lengths.clamp_min(1).cpu(), batch_first=True, enforce_sorted=False)
        known = (lengths > 0)[:, None]
        return tuple(torch.where(known, part, 0.0) for part in _state_of(self.shared(packed)[1]))

    def observe(self, state: TracerState, concept: Tensor, correct: Tensor) -> TracerState:
        """Return the state after one answer each; `concept` [B] or [B, C], `correct` [B]."""
        rows = self._answered(_several(concept)[:, None], correct[:, None])
        return _state_of(self.shared(rows, _inner(state))[1])

    def path_logit(self, state: TracerState, last: Tensor, path: Tensor) -> Tensor:
        """Return the logits [B, L, N] of each step of `path` [B, L], the steps before it being given.

        Args:
            state: after the histories.
            last: last concept of each history, [B]; -1 where there is none.
            path: concepts without padding; the last of them changes nothing.
        """
        before = torch.cat([last[:, None], path[:, :-1]], 1)
        rows = self.dropout(self._step_rows(before, range(path.shape[1])))
        logit: Tensor = self.path_head(self.dropout(self._branch(rows, _inner(state))[0]))
        return logit

    def path_logits(self, state: TracerState, last: Tensor, paths: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return `path_logit` of several paths after the same histories, computed together."""
        count = len(paths)
        together = tuple(part.repeat(count, 1) for part in state)
        return self.path_logit(together, last.repeat(count), torch.cat(list(paths))).chunk(count)

    def path_step(self, state: TracerState, before: Tensor, number: int) -> tuple[Tensor, TracerState]:
        """Return the logits [B, N] of one step after the concept `before` [B], and the branch's next state."""
        rows = self.dropout(self._step_rows(before[:, None], range(number, number + 1)))
        output, inner = self._branch(rows, _inner(state))
        return self.path_head(self.dropout(output[:, 0])), _state_of(inner)

    def recommend(
        self, state: TracerState, last: Tensor, length: int, beam_width: int = 1, no_repeat: bool = False
    ) -> Tensor:
        """Return the likeliest path [B, L] that a beam finds (`beam_width=1`: greedy)."""
        return search_path(self.path_step, state, last, length, beam_width, no_repeat)[0]

    def trace(self, state: TracerState, path: Tensor) -> Tensor:
        """Return the logits [B, L] of success at each step of `path`, [B, L] or [B, L, C], answers on it unseen."""
        rows = _mean(F.embedding(path.clamp_min(0), self.asked.weight), path >= 0) if path.dim() == 3 else None
        rows = self.asked(path) if rows is None else rows
        logit: Tensor = self.tracing_head(self.tracing(rows, _inner(state))[0])
        return logit[..., 0]

    def predict(self, state: TracerState, concept: Tensor) -> Tensor:
        """Return the success probability [B] of an answer to `concept`, [B] or [B, C]."""
        logit = self.trace(state, _several(concept)[:, None])[:, 0]
        return logit.sigmoid()

    def mastery(self, state: TracerState) -> Tensor:
        """Return the success probability of every concept, [B, N]; products that learners share are computed once."""
        own: Any = self.tracing
        entry = F.linear(self.asked.weight, own.weight_ih_l0, own.bias_ih_l0)
        gates = entry + F.linear(state[0], own.weight_hh_l0, own.bias_hh_l0)[:, None]
        if len(state) == 1:
            hidden = gates.tanh()
        else:
            take, forget, candidate, output = gates.chunk(4, -1)
            new = forget.sigmoid() * state[1][:, None] + take.sigmoid() * candidate.tanh()
            hidden = output.sigmoid() * new.tanh()
        logit: Tensor = self.tracing_head(hidden)
        return logit[..., 0].sigmoid()

    @property
    def _branch(self) -> Any:
        return self.shared if self.decoder == "shared" else self.path

    def _step_rows(self, before: Tensor, numbers: range) -> Tensor:
        """Return what the path branch reads at the steps `numbers`, [B, steps, E]."""
        if self.decoder != "direct":
            return F.embedding(torch.where(before == PAD, self.num_concepts, before), self.steps.weight)
        if numbers.stop > STEPS:
            raise SettingError("length", numbers.stop, f"at most {STEPS} steps with decoder=direct")
        number = torch.arange(numbers.start, numbers.stop, device=before.device)
        return F.embedding(number, self.steps.weight).expand(len(before), -1, -1)

    def _answered(self, concept: Tensor, correct: Tensor) -> Tensor:
        """Return the rows [..., E] of answers on concepts [..., C]; answers in (0, 1) lie between wrong and right."""
        index, table = concept.clamp_min(0), self.answers.weight
        right = correct[..., None] > 0.5
        if bool((right == correct[..., None]).all()):
            return _mean(F.embedding(index + self.num_concepts * right, table), concept >= 0)
        rows = F.embedding(index, table), F.embedding(index + self.num_concepts, table)
        return _mean(torch.lerp(*rows, correct[..., None, None]), concept >= 0)


def _mean(rows: Tensor, known: Tensor) -> Tensor:
    """Return the mean over concepts, [..., C, E] -> [..., E]; unknown ones are left out."""
    if rows.shape[-2] == 1:
        return rows[..., 0, :] * known
    weight = known / known.sum(-1, keepdim=True).clamp_min(1)
    return (rows * weight[..., None]).sum(-2)


def _several(concept: Tensor) -> Tensor:
    return concept if concept.dim() == 2 else concept[:, None]


def _inner(state: TracerState) -> Any:
    """Return a state in the form that recurrent nets of torch take."""
    parts = tuple(part[None].contiguous() for part in state)
    return parts if len(parts) > 1 else parts[0]


def _state_of(inner: Any) -> TracerState:
    return tuple(part[0] for part in inner) if isinstance(inner, tuple) else (inner[0],)
