"""What a model of learners predicts step by step along real logs, and several steps ahead of what it has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lpr_lightning.functional.bootstrap import grouped_auc
from lpr_lightning.types import PAD, Answers, Exercise, InteractionBatch, State, TensorData, select_rows


class Steps(Protocol):
    """The calls of `protocols.Tracer`, and of learners of known truth, that follow a log."""

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a real answer."""
        ...

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a planned step."""
        ...

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the probability of success."""
        ...


@dataclass(frozen=True)
class OpenLoop(TensorData):
    """Predictions from states frozen at prefixes of logs, a row for each: R rows, H steps ahead.

    `frozen` [R, H]: success at each of the next answers as the state before all of them has it; `ahead` [R, H]: after
    the steps before it, practised with the model's own soft answers. `concept` [R, 1 + H, C] and `correct` [R, 1 + H]:
    the last answer seen, then those ahead. `mask` [R, H]: True where there is an answer. `learner` [R]; `seen` [R]:
    answers of the prefix. 0 (concepts -1) where there is no answer.
    """

    frozen: Tensor
    ahead: Tensor
    concept: Tensor
    correct: Tensor
    mask: Tensor
    learner: Tensor
    seen: Tensor

    def __len__(self) -> int:
        return self.learner.shape[0]


class Followed(NamedTuple):
    """All answers but each learner's first, predicted from those before them, and the open-loop predictions."""

    answers: Answers
    open_loop: OpenLoop


@torch.no_grad()
def follow_logs(model: Steps, state: State, batch: InteractionBatch, horizon: int, stride: int) -> Followed:
    """Return what `model` predicts along logs: each next answer, and up to `horizon` steps ahead of frozen states.

    A state is frozen after `stride` answers, after twice as many, and so on. From there the exercises are those of the
    log, the answers the model's own expectation; nothing of the real answers is seen.

    Args:
        model: observes, practises and predicts.
        state: of the learners before any answer.
        batch: their whole logs, B rows.
        horizon: H, steps ahead.
        stride: answers from one frozen state to the next.

    >>> class Rates:  # success 0.5 + 0.1 for each step of practice
    ...     def observe(self, state, asked, correct):
    ...         return state
    ...
    ...     def practise(self, state, asked, correct):
    ...         return (state[0] + 0.1,)
    ...
    ...     def predict(self, state, asked):
    ...         return (state[0][:, None] if asked.item.dim() > 1 else state[0]).expand(asked.shape)
    >>> log = InteractionBatch.empty(1)
    >>> log = InteractionBatch(torch.zeros(1, 4, 1).long(), torch.zeros(1, 4).long(), torch.ones(1, 4),
    ...                        torch.ones(1, 4).bool(), torch.zeros(1).long())  # fmt: skip
    >>> follow_logs(Rates(), (torch.tensor([0.5]),), log, horizon=2, stride=2).open_loop.ahead
    tensor([[0.5000, 0.6000]])
    """
    order = batch.lengths.argsort(descending=True, stable=True)
    batch, state = batch.select(order), select_rows(state, order)
    lengths, parts, starts = batch.lengths, [], []
    for step in range(batch.mask.shape[1]):
        going = int((lengths > step).sum())
        state = tuple(part[:going] for part in state)
        if step and step % stride == 0:
            starts.append(_ahead(model, state, batch, step, horizon))
        asked = _exercise(batch, going, slice(step, step + 1)).flat()
        probability = model.predict(state, asked) if step else torch.zeros(going)
        correct = batch.correct[:going, step]
        if step:
            parts.append(Answers(probability, correct, asked.concept, asked.item, batch.learner[:going]))
        state = model.observe(state, asked, correct)
    nothing = torch.zeros(0)
    none = Answers(nothing, nothing, batch.concept[:0].flatten(0, 1), nothing.long(), nothing.long())
    nowhere = _ahead(model, state, batch.select(order[:0]), 1, horizon)
    return Followed(Answers.join([none, *parts]), OpenLoop.join([nowhere, *starts]))


def _ahead(model: Steps, state: State, batch: InteractionBatch, seen: int, horizon: int) -> OpenLoop:
    """Return the open-loop predictions of the rows that go on after `seen` answers; `state` is theirs."""
    rows = int((batch.lengths > seen).sum())
    window = slice(seen - 1, seen + horizon)
    shape = (rows, horizon + 1)
    concept = torch.full((*shape, batch.concept.shape[2]), PAD)
    correct, mask = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    width = batch.mask[:, window].shape[1]
    for whole, part in ((concept, batch.concept), (correct, batch.correct), (mask, batch.mask)):
        whole[:, :width] = part[:rows, window]
    frozen, ahead = torch.zeros(rows, horizon), torch.zeros(rows, horizon)
    if width > 1 and rows:
        frozen[:, : width - 1] = model.predict(state, _exercise(batch, rows, slice(seen, seen + width - 1)))
    for place in range(width - 1):
        going = int((batch.lengths > seen + place).sum())
        state = tuple(part[:going] for part in state)
        asked = _exercise(batch, going, slice(seen + place, seen + place + 1)).flat()
        ahead[:going, place] = model.predict(state, asked)
        state = model.practise(state, asked, ahead[:going, place])
    mask = mask[:, 1:]
    seen_by_all = torch.full((rows,), seen)
    return OpenLoop(frozen * mask, ahead, concept, correct, mask, batch.learner[:rows], seen_by_all)


def _exercise(batch: InteractionBatch, rows: int, steps: slice) -> Exercise:
    """Return what the first rows were asked at some steps, [rows, A]; concept 0 where nothing was."""
    concept, item = batch.concept[:rows, steps], batch.item[:rows, steps]
    nothing = (concept < 0).all(-1, keepdim=True) & (item < 0)[..., None]
    return Exercise(torch.where(nothing, 0, concept), item)


def open_loop_auc(
    found: OpenLoop, steps: Sequence[int], resamples: int = 200, seed: int = 0
) -> dict[int, tuple[float, float, float]]:
    """Return the AUC of the answers k steps ahead for each k of `steps`, with its interval over learners.

    All k are asked of the same prefixes, those with so many answers behind them as the largest of them, so that what
    differs between them is the number of steps ahead, not the learners.

    >>> concept, correct = torch.zeros(2, 3, 1).long(), torch.tensor([[1.0, 1, 0], [0, 0, 1]])
    >>> ahead, rows = torch.tensor([[0.9, 0.2], [0.1, 0.1]]), torch.arange(2)
    >>> found = OpenLoop(ahead, ahead, concept, correct, torch.ones(2, 2).bool(), rows, rows)
    >>> {k: auc for k, (auc, _, _) in open_loop_auc(found, [1, 2], resamples=0).items()}
    {1: 1.0, 2: 0.0}
    """
    long = found.mask[:, max(steps) - 1]
    return {
        step: grouped_auc(found.ahead[long, step - 1], found.correct[long, step], found.learner[long], resamples, seed)
        for step in steps
    }
