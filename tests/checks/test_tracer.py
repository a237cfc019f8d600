"""`check_tracer` passes tracers that follow the rules and names the rule that a broken one breaks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from toy_tracer import ToyTracer

from lpr_lightning.checks import BrokenRule, check_tracer
from lpr_lightning.errors import SettingError
from lpr_lightning.nets.dkt import DKTNet
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import Exercise, InteractionBatch, Interactions, State


def batch() -> InteractionBatch:
    lengths = (5, 1, 0, 3)
    log = Interactions.from_lists([[((3 * t + n) % 4, (t + n) % 2) for t in range(n)] for n in lengths])
    return log.batch(torch.arange(len(lengths)))


class TooSure(ToyTracer):
    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        return super().mastery(state, concept) + 1


class ColumnPredictions(ToyTracer):
    def predict(self, state: State, asked: Exercise) -> Tensor:
        return super().predict(state, asked).reshape(-1, 1)


class LayersFirst(ToyTracer):
    def encode(self, history: InteractionBatch) -> State:
        return *super().encode(history), torch.zeros(2, len(history))


class Forgetful(ToyTracer):
    """Drops out whether or not it is trained."""

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        return F.dropout(super().mastery(state, concept), 0.5, training=True).clamp_max(1)


class InPlace(ToyTracer):
    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        (after,) = super().practise(state, asked, correct)
        return (state[0].copy_(after) if after.shape == state[0].shape else after,)


class CountsPadding(ToyTracer):
    def encode(self, history: InteractionBatch) -> State:
        return (super().encode(history)[0] * 0.9 ** history.mask.shape[1],)


class ReadsUnderMask(ToyTracer):
    def encode(self, history: InteractionBatch) -> State:
        state = self.initial_state(len(history))
        for step in range(history.mask.shape[1]):
            state = self.observe(state, history.asked(step), history.correct[:, step])
        return state


class Normalised(ToyTracer):
    def encode(self, history: InteractionBatch) -> State:
        (hidden,) = super().encode(history)
        return (hidden - hidden.mean(0),)


class SkipsFirst(ToyTracer):
    """Reads whole histories from their second answer on."""

    def encode(self, history: InteractionBatch) -> State:
        later = history.concept[:, 1:], history.item[:, 1:], history.correct[:, 1:], history.mask[:, 1:]
        return super().encode(InteractionBatch(*later, history.learner))


class Rounding(ToyTracer):
    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        return super().observe(state, asked, (correct > 0.5).float())


class SharedCandidates(ToyTracer):
    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        return super().practise(
            state, asked, correct.mean(1, keepdim=True).expand_as(correct) if correct.dim() > 1 else correct
        )


class FirstCandidate(ToyTracer):
    def predict(self, state: State, asked: Exercise) -> Tensor:
        result = super().predict(state, asked)
        return result if result.dim() == 1 else result[:, :1].expand_as(result)


class WrongConcepts(ToyTracer):
    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        return super().mastery(state, None if concept is None else (concept + 1) % self.num_concepts)


class ZeroForUnknown(ToyTracer):
    def vector(self, asked: Exercise) -> Tensor:
        return super().vector(asked) * (asked.item < 100)[..., None]


class LooksUpAnything(ToyTracer):
    def vector(self, asked: Exercise) -> Tensor:
        return super().vector(asked) + 0 * self.item[asked.item.clamp_min(0)]


@pytest.mark.parametrize("tracer", [ToyTracer(4), ToyTracer(4, num_items=6), DKTNet(4, 5, 6).eval()])
def test_good_tracers_pass(tracer: Tracer) -> None:
    check_tracer(tracer, batch())


@pytest.mark.parametrize(
    ("tracer", "rule"),
    [
        (TooSure(4), "ranges"),
        (ColumnPredictions(4), "ranges"),
        (LayersFirst(4), "ranges"),
        (Forgetful(4), "determinism"),
        (InPlace(4), "no state leak"),
        (CountsPadding(4), "padding"),
        (ReadsUnderMask(4), "padding"),
        (Normalised(4), "batch independence"),
        (SkipsFirst(4), "step = encode"),
        (Rounding(4), "soft answers"),
        (SharedCandidates(4), "candidates"),
        (FirstCandidate(4), "candidates"),
        (WrongConcepts(4), "some concepts"),
        (ZeroForUnknown(4), "unknown question"),
        (LooksUpAnything(4, num_items=9), "unknown question"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ToyTracer) else "",
)
def test_broken_tracers_are_named(tracer: ToyTracer, rule: str) -> None:
    with pytest.raises(BrokenRule) as caught:
        check_tracer(tracer, batch())
    assert caught.value.rule == rule


def test_too_little_to_check_is_refused() -> None:
    with pytest.raises(SettingError, match="two learners"):
        check_tracer(ToyTracer(4), batch().select(torch.tensor([0])))
    with pytest.raises(SettingError, match="answers"):
        check_tracer(ToyTracer(4), InteractionBatch.empty(3))
