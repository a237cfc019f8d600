"""One recurrent net that reads a history, and two that go on from there: what comes next, and how it will go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments
from lpr_lightning.nets.concept_rows import answer_rows, mean_rows
from lpr_lightning.nets.memo import Memo
from lpr_lightning.nets.path_search import search_path
from lpr_lightning.nets.recurrent import layer_weights, recurrent_step, run_padded
from lpr_lightning.nets.tracer_net import TracerNet
from lpr_lightning.types import PAD, Exercise, InteractionBatch, State, keep_rows

Cell = Literal["lstm", "rnn"]
Decoder = Literal["autoregressive", "direct", "shared"]
STEPS = 64
"""The longest path that a `direct` decoder can say."""


class MultiTaskNet(HyperparametersMixin, TracerNet):
    """A shared recurrent net over (concept, answer) pairs, a path branch and a tracing branch (arXiv 2507.05295).

    The state of a learner is that of the shared net after the history, one tensor [B, H] for each part (`h`, `c`).
    Both branches are recurrent nets of their own that start from it:

    - The path branch says a distribution over concepts at every step. Its input is the concept before
      (`decoder="autoregressive"`) or only the number of the step (`"direct"`). With `"shared"` there is no branch: the
      net that read the history reads its own recommendations on, as entries without an answer.
    - The tracing branch reads the concepts of a path and says at each the probability of success, from the history and
      the concepts up to it; answers on the way are not seen, as they are not when a path is recommended.

    As a `protocols.Tracer` the state is carried on answer by answer, and an answer is predicted by the first step of
    the tracing branch; items and vectors of exercises are ignored.

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
        kinds: dict[str, type[nn.LSTM] | type[nn.RNN]] = {"lstm": nn.LSTM, "rnn": nn.RNN}
        if cell not in kinds:
            raise SettingError("cell", cell, "lstm or rnn")
        if decoder not in ("autoregressive", "direct", "shared"):
            raise SettingError("decoder", decoder, "autoregressive, direct or shared")
        self.num_concepts, self.hidden_size, self.decoder = num_concepts, hidden_size, decoder
        self.answers = nn.Embedding(2 * num_concepts, embedding_size)
        self.steps = nn.Embedding(STEPS if decoder == "direct" else num_concepts + 1, embedding_size)
        self.asked = nn.Embedding(num_concepts, embedding_size)
        self.shared: nn.RNNBase = kinds[cell](embedding_size, hidden_size, batch_first=True)
        if decoder != "shared":
            self.path: nn.RNNBase = kinds[cell](embedding_size, hidden_size, batch_first=True)
        self.tracing: nn.RNNBase = kinds[cell](embedding_size, hidden_size, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.path_head = nn.Linear(hidden_size, num_concepts)
        self.tracing_head = nn.Linear(hidden_size, 1)
        self._answer_products, self._asked_products = Memo(), Memo()

    def initial_state(self, batch_size: int) -> State:
        """Return zero states."""
        zeros = self.answers.weight.new_zeros(batch_size, self.hidden_size)
        return (zeros, zeros) if isinstance(self.shared, nn.LSTM) else (zeros,)

    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole right-padded histories."""
        rows = answer_rows(self.answers.weight, history.concept, history.correct)
        return tuple(part[:, 0] for part in run_padded(self.shared, rows, history.mask)[1])

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each, or after each of A possible answers; see `protocols.Tracer`."""
        concept, weights, table = asked.candidates().concept, layer_weights(self.shared), self.answers.weight
        products = self._answer_products([table, weights.weight_ih], lambda: F.linear(table, weights.weight_ih))
        rows = answer_rows(products, concept, correct.reshape(concept.shape[:-1]))
        return tuple(part.flatten(0, 1) for part in recurrent_step(state, rows, weights))

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers, [B] or [B, A]."""
        rows = mean_rows(self._tracing_products(), asked.candidates().concept)
        return self._success(state, rows).sigmoid().reshape(asked.shape)

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the success probability of every concept [B, N], or of the concepts [B, M] only, [B * G, M]."""
        products = self._tracing_products()
        if concept is None:
            return self._success(state, products[None]).sigmoid()
        rows = F.embedding(concept, products).repeat_interleave(len(state[0]) // max(len(concept), 1), 0)
        return self._success(state, rows).sigmoid()

    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return the logits [R] of all real next answers, and each one's place in the flattened answers 1 … T - 1.

        The tracing branch starts from the shared net's state after each answer, which is run step by step.
        """
        state, following, weights = self.initial_state(len(batch)), batch.mask[:, 1:], layer_weights(self.shared)
        rows = F.linear(answer_rows(self.answers.weight, batch.concept, batch.correct), weights.weight_ih)
        asked, logit = mean_rows(self._tracing_products(), batch.concept), []
        for step in range(following.shape[1]):
            new = recurrent_step(state, rows[:, step, None], weights)
            state = keep_rows(state, tuple(part[:, 0] for part in new), batch.mask[:, step])
            logit.append(self._success(state, asked[:, step + 1, None]))
        place = following.flatten().nonzero().squeeze(1)
        logits = torch.cat(logit, 1) if logit else self.answers.weight.new_zeros(following.shape)
        return logits.flatten()[place], place

    def path_logit(self, state: State, last: Tensor, path: Tensor) -> Tensor:
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

    def path_logits(self, state: State, last: Tensor, paths: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return `path_logit` of several paths after the same histories, computed together."""
        count = len(paths)
        together = tuple(part.repeat(count, 1) for part in state)
        return self.path_logit(together, last.repeat(count), torch.cat(list(paths))).chunk(count)

    def path_step(self, state: State, before: Tensor, number: int) -> tuple[Tensor, State]:
        """Return the logits [B, N] of one step after the concept `before` [B], and the branch's next state."""
        rows = self.dropout(self._step_rows(before[:, None], range(number, number + 1)))
        output, inner = self._branch(rows, _inner(state))
        return self.path_head(self.dropout(output[:, 0])), _state_of(inner)

    def recommend(
        self, state: State, last: Tensor, length: int, beam_width: int = 1, no_repeat: bool = False
    ) -> Tensor:
        """Return the likeliest path [B, L] that a beam finds (`beam_width=1`: greedy)."""
        return search_path(self.path_step, state, last, length, beam_width, no_repeat)[0]

    def trace(self, state: State, path: Tensor) -> Tensor:
        """Return the logits [B, L] of success at each step of `path` [B, L], answers on it unseen."""
        if not path.numel():  # no learner, no step: nn.LSTM refuses
            return self.asked.weight.new_zeros(path.shape)
        logit: Tensor = self.tracing_head(self.tracing(self.asked(path), _inner(state))[0])
        return logit[..., 0]

    @property
    def _branch(self) -> nn.RNNBase:
        return self.shared if self.decoder == "shared" else self.path

    def _tracing_products(self) -> Tensor:
        """Return the tracing branch's input product of every concept, [N, gH], without bias."""
        table, weight = self.asked.weight, layer_weights(self.tracing).weight_ih
        return self._asked_products([table, weight], lambda: F.linear(table, weight))

    def _success(self, state: State, products: Tensor) -> Tensor:
        """Return the logits [B, A] of the tracing branch's first step from input products [B or 1, A, gH]."""
        logit: Tensor = self.tracing_head(recurrent_step(state, products, layer_weights(self.tracing))[0])
        return logit[..., 0]

    def _step_rows(self, before: Tensor, numbers: range) -> Tensor:
        """Return what the path branch reads at the steps `numbers`, [B, steps, E]."""
        if self.decoder != "direct":
            return F.embedding(torch.where(before == PAD, self.num_concepts, before), self.steps.weight)
        if numbers.stop > STEPS:
            raise SettingError("length", numbers.stop, f"at most {STEPS} steps with decoder=direct")
        number = torch.arange(numbers.start, numbers.stop, device=before.device)
        return F.embedding(number, self.steps.weight).expand(len(before), -1, -1)


def _inner(state: State) -> Tensor | State:
    """Return a state in the form that recurrent nets of torch take."""
    parts = tuple(part[None].contiguous() for part in state)
    return parts if len(parts) > 1 else parts[0]


def _state_of(inner: Tensor | State) -> State:
    return (inner[0],) if isinstance(inner, Tensor) else tuple(part[0] for part in inner)
