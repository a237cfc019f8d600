"""`check_simulator` passes simulators that follow the rules and names the rule that a broken one breaks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from lpr_lightning.checks import BrokenRule, check_simulator
from lpr_lightning.draws import Draws
from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.goals import Targets
from lpr_lightning.protocols import Learner, Standing
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import Exercise, Interactions, PathRequest, State


def request(count: int = 6) -> PathRequest:
    histories = [[(concept % 4, (concept + row) % 3 > 0) for concept in range(row)] for row in range(count)]
    log = Interactions.from_lists([[(concept, int(right)) for concept, right in history] for history in histories])
    plain = Ladder(4).request(targets=[[row % 4, (row + 1) % 4] for row in range(count)], length=3)
    return replace(plain, history=log.batch(torch.arange(count)))


@dataclass
class Chancy(Ladder):
    """Answers at random; only a right answer teaches anything."""

    gain: float = 0.3

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        chance = 0.5 if draws is None else draws.uniform(*probability.shape[1:])
        return (0.2 + 0.6 * probability > chance).to(probability)

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        (before,) = super().practise(state, asked, torch.zeros_like(correct))
        old = state[0].repeat_interleave(len(before) // len(state[0]), 0)
        return (torch.where(correct.reshape(-1, 1) > 0, before, old),)


class TooSure(Ladder):
    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        return super().mastery(state, concept) * 1.5


class Transposed(Ladder):
    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        return super().mastery(state, concept).t()


class Percent(Ladder):
    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        return 100 * super().respond(probability, draws)


class ColumnPredictions(Ladder):
    def predict(self, state: State, asked: Exercise) -> Tensor:
        return super().predict(state, asked)[:, None]


class TimeFirst(Ladder):
    def start(self, request: PathRequest) -> State:
        return *super().start(request), torch.zeros(1)


class GlobalChance(Chancy):
    """Draws from torch's own generator."""

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        return torch.bernoulli(0.5 * torch.ones_like(probability))


class AlwaysChancy(Chancy):
    """Draws even where it is given no draws."""

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        return (
            torch.bernoulli(0.5 * torch.ones_like(probability))
            if draws is None
            else super().respond(probability, draws)
        )


class InPlace(Ladder):
    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        (after,) = super().practise(state, asked, correct)
        return (state[0].copy_(after) if after.shape == state[0].shape else after,)


class ObservesInPlace(Ladder):
    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        (after,) = super().practise(state, asked, correct)
        return (state[0].copy_(after) if after.shape == state[0].shape else after,)


class Tired(Ladder):
    """Counts steps outside the state, anew from each start."""

    count = 0

    def start(self, request: PathRequest) -> State:
        self.count = 0
        return super().start(request)

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        self.count += 1
        return (super().practise(state, asked, correct)[0] * 0.9**self.count,)


class TaughtByReading(Ladder):
    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        result = super().mastery(state, concept).clone()
        state[0].add_(0.01).clamp_(max=1.0)
        return result


class CountsReadings(Ladder):
    """Predicts worse with each reading since the start."""

    count = 0

    def start(self, request: PathRequest) -> State:
        self.count = 0
        return super().start(request)

    def predict(self, state: State, asked: Exercise) -> Tensor:
        return super().predict(state, asked) * 0.9**self.count

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        self.count += 1
        return super().mastery(state, concept)


class Restless(Ladder):
    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        (after,) = super().practise(state, asked, correct)
        return (torch.where(asked.candidates().asked.reshape(-1, 1), after, after * 0.9),)


class RestlessObserver(Ladder):
    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        (after,) = super().practise(state, asked, correct)
        return (torch.where(asked.candidates().asked.reshape(-1, 1), after, after * 0.9),)


class CountsPadding(Ladder):
    def start(self, request: PathRequest) -> State:
        return (super().start(request)[0] * 0.9 ** request.history.mask.shape[1],)


class ReadsUnderMask(Ladder):
    def start(self, request: PathRequest) -> State:
        everything = replace(request.history, mask=torch.ones_like(request.history.mask))
        return super().start(replace(request, history=everything))


class Sociable(Ladder):
    def start(self, request: PathRequest) -> State:
        ability = super().start(request)[0]
        return (0.5 * ability + 0.5 * ability.mean(0),)


class SharedChance(Chancy):
    """Gives every row the draws of the first."""

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        if draws is None:
            return super().respond(probability, None)
        return super().respond(probability, draws.select(torch.zeros_like(draws.key)))


class SharedCandidates(Ladder):
    """Candidates practise one after another instead of each on its own."""

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        if len(asked.shape) == 1:
            return super().practise(state, asked, correct)
        states = []
        for column in range(asked.shape[1]):
            one = Exercise(asked.concept[:, column], asked.item[:, column])
            state = super().practise(state, one, correct[:, column])
            states.append(state[0])
        return (torch.stack(states, 1).flatten(0, 1),)


class CandidatesFirst(Ladder):
    """Gives candidates' states in the wrong order."""

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        (after,) = super().practise(state, asked, correct)
        if len(asked.shape) == 1:
            return (after,)
        return (after.view(*asked.shape, -1).transpose(0, 1).flatten(0, 1),)


class WrongConcepts(Ladder):
    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        return super().mastery(state, None if concept is None else (concept + 1) % self.num_concepts)


class UnevenConcepts(Ladder):
    """Gives the mastery of some concepts to the first copy of each learner only."""

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        return state[0] if concept is None else state[0][: len(concept)].gather(1, concept)


class GenerousGoal(Targets):
    def assess(self, learner: Learner, state: State, concept: Tensor) -> Standing:
        standing = super().assess(learner, state, concept)
        return standing._replace(score=standing.best + 1)


class TeachingGoal(Targets):
    def assess(self, learner: Learner, state: State, concept: Tensor) -> Standing:
        standing = super().assess(learner, state, concept)
        state[0].add_(0.01).clamp_(max=1.0)
        return standing


@pytest.mark.parametrize("simulator", [Ladder(4), Ladder(4, gain=0.3), Chancy(4)])
def test_good_simulators_pass(simulator: Ladder) -> None:
    check_simulator(simulator, request())
    check_simulator(simulator, Ladder(4).request(targets=[[0], [1]], length=2), steps=2)


@pytest.mark.parametrize(
    ("simulator", "rule"),
    [
        (TooSure(4), "ranges"),
        (Transposed(4), "ranges"),
        (Percent(4), "ranges"),
        (ColumnPredictions(4), "ranges"),
        (TimeFirst(4), "ranges"),
        (GlobalChance(4), "determinism"),
        (AlwaysChancy(4), "determinism"),
        (InPlace(4, gain=0.3), "no state leak"),
        (ObservesInPlace(4, gain=0.3), "no state leak"),
        (Tired(4, gain=0.3), "no state leak"),
        (TaughtByReading(4), "reading"),
        (CountsReadings(4), "reading"),
        (Restless(4), "nothing asked"),
        (RestlessObserver(4), "nothing asked"),
        (CountsPadding(4), "history masks"),
        (ReadsUnderMask(4), "history masks"),
        (Sociable(4), "batch independence"),
        (SharedChance(4), "batch independence"),
        (SharedCandidates(4, gain=0.3), "candidates"),
        (CandidatesFirst(4, gain=0.3), "candidates"),
        (WrongConcepts(4), "some concepts"),
        (UnevenConcepts(4), "some concepts"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Ladder) else "",
)
def test_broken_simulators_are_named(simulator: Ladder, rule: str) -> None:
    with pytest.raises(BrokenRule) as caught:
        check_simulator(simulator, request(), LooseTargets())
    assert caught.value.rule == rule
    assert "To mend it: " in str(caught.value)
    assert isinstance(caught.value, LPRError)


class LooseTargets(Targets):
    """Assesses by the mastery of all concepts, so that mastery of some is only met where it is checked."""

    def assess(self, learner: Learner, state: State, concept: Tensor) -> Standing:
        counted = torch.zeros(len(concept), learner.num_concepts + 1).scatter(1, concept + 1, 1.0)[:, 1:]
        mastery = learner.mastery(state)
        if mastery.shape != counted.shape:
            return super().assess(learner, state, concept)
        best = counted.sum(1)
        return Standing((mastery * counted).sum(1) / best.clamp_min(1), (mastery >= 0.5).mul(counted).sum(1), best)


@pytest.mark.parametrize(("goal", "rule"), [(GenerousGoal(), "ranges"), (TeachingGoal(), "reading")])
def test_broken_goals_are_named(goal: Targets, rule: str) -> None:
    with pytest.raises(BrokenRule) as caught:
        check_simulator(Ladder(4, gain=0.3), request(), goal)
    assert caught.value.rule == rule


def test_too_little_to_check_is_refused() -> None:
    with pytest.raises(SettingError, match="two learners"):
        check_simulator(Ladder(4), request(1))
    with pytest.raises(SettingError, match="steps"):
        check_simulator(Ladder(4), request(), steps=1)
