"""`check_simulator` passes simulators that keep the rules and names the rule that a broken one breaks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.simulators.check import SimulatorError, check_simulator
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import Interactions, PathRequest, SimulatorState

Step = tuple[SimulatorState, Tensor, Tensor]


def request(count: int = 6) -> PathRequest:
    histories = [[(concept % 4, (concept + row) % 3 > 0) for concept in range(row)] for row in range(count)]
    log = Interactions.from_lists([[(concept, int(right)) for concept, right in history] for history in histories])
    plain = Ladder(4).request(targets=[[row % 4, (row + 1) % 4] for row in range(count)], length=3)
    return replace(plain, history=log.batch(torch.arange(count)))


@dataclass
class Chancy(Ladder):
    """Answers at random, from a generator of its own; the answer counts in what is learned."""

    gain: float = 0.3

    def __post_init__(self) -> None:
        self.seed(0)

    def seed(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def step(self, state: SimulatorState, concept: Tensor) -> Step:
        new, _, probability = super().step(state, concept)
        answer = torch.bernoulli(probability, generator=self.generator)
        learned = torch.where(((answer > 0) | (probability == 0))[:, None], new[0], state[0])
        return (learned,), answer, probability


class TooSure(Ladder):
    def mastery(self, state: SimulatorState) -> Tensor:
        return state[0] * 1.5


class Generous(Ladder):
    def exam(self, state: SimulatorState, targets: Tensor) -> tuple[Tensor, Tensor]:
        score, best = super().exam(state, targets)
        return score + 1, best


class Transposed(Ladder):
    def mastery(self, state: SimulatorState) -> Tensor:
        return state[0].t()


class Unseeded(Chancy):
    def seed(self, seed: int) -> None:
        if not hasattr(self, "generator"):
            super().seed(seed)


class InPlace(Ladder):
    def step(self, state: SimulatorState, concept: Tensor) -> Step:
        new, answer, probability = super().step(state, concept)
        return (state[0].copy_(new[0]),), answer, probability


class Forgetful(Ladder):
    """Keeps a count of its own, which seeding clears but a branched state does not."""

    count = 0

    def start(self, request: PathRequest) -> SimulatorState:
        self.count = 0
        return super().start(request)

    def step(self, state: SimulatorState, concept: Tensor) -> Step:
        self.count += 1
        new, answer, probability = super().step(state, concept)
        return (new[0] * 0.9**self.count,), answer, probability


class TeachingExam(Ladder):
    def exam(self, state: SimulatorState, targets: Tensor) -> tuple[Tensor, Tensor]:
        result = super().exam(state, targets)
        state[0].add_(0.01 * targets).clamp_(max=1.0)
        return result


class DrawingExam(Chancy):
    def exam(self, state: SimulatorState, targets: Tensor) -> tuple[Tensor, Tensor]:
        torch.rand(3, generator=self.generator)
        return super().exam(state, targets)


class RestlessPadding(Ladder):
    def step(self, state: SimulatorState, concept: Tensor) -> Step:
        new, answer, probability = super().step(state, concept)
        return (torch.where((concept < 0)[:, None], new[0] * 0.9, new[0]),), answer, probability


class AnsweringPadding(Ladder):
    def step(self, state: SimulatorState, concept: Tensor) -> Step:
        new, answer, probability = super().step(state, concept)
        return new, torch.where(concept < 0, 1.0, answer), probability


class CountsPadding(Ladder):
    def start(self, request: PathRequest) -> SimulatorState:
        return (super().start(request)[0] * 0.9 ** request.history.mask.shape[1],)


class ReadsUnderMask(Ladder):
    def start(self, request: PathRequest) -> SimulatorState:
        everything = replace(request.history, mask=torch.ones_like(request.history.mask))
        return super().start(replace(request, history=everything))


class Sociable(Ladder):
    def step(self, state: SimulatorState, concept: Tensor) -> Step:
        new, answer, probability = super().step(state, concept)
        return (torch.where((concept < 0)[:, None], new[0], 0.9 * new[0] + 0.1 * new[0].mean(0)),), answer, probability


class SociableStart(Chancy):
    def start(self, request: PathRequest) -> SimulatorState:
        ability = super().start(request)[0]
        return (0.5 * ability + 0.5 * ability.mean(0),)


@pytest.mark.parametrize("simulator", [Ladder(4), Ladder(4, gain=0.3), Chancy(4)])
def test_good_simulators_pass(simulator: Ladder) -> None:
    check_simulator(simulator, request())
    check_simulator(simulator, Ladder(4).request(targets=[[0], [1]], length=2), steps=2)


@pytest.mark.parametrize(
    ("simulator", "rule"),
    [
        (TooSure(4), "ranges"),
        (Generous(4), "ranges"),
        (Transposed(4), "ranges"),
        (Unseeded(4), "determinism"),
        (InPlace(4, gain=0.3), "no state leak"),
        (Forgetful(4, gain=0.3), "no state leak"),
        (TeachingExam(4), "exams"),
        (DrawingExam(4), "exams"),
        (RestlessPadding(4), "padding steps"),
        (AnsweringPadding(4), "padding steps"),
        (CountsPadding(4), "history masks"),
        (ReadsUnderMask(4), "history masks"),
        (Sociable(4), "batch independence"),
        (SociableStart(4), "batch independence"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Ladder) else "",
)
def test_broken_simulators_are_named(simulator: Ladder, rule: str) -> None:
    with pytest.raises(SimulatorError) as caught:
        check_simulator(simulator, request())
    assert caught.value.rule == rule
    assert "To mend it: " in str(caught.value)
    assert isinstance(caught.value, LPRError)


def test_too_little_to_check_is_refused() -> None:
    with pytest.raises(SettingError, match="two learners"):
        check_simulator(Ladder(4), request(1))
    with pytest.raises(SettingError, match="steps"):
        check_simulator(Ladder(4), request(), steps=1)
