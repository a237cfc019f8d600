"""Searches against exhaustive search, on learners whose best paths can be enumerated."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from lpr_lightning.demonstrations.beam import BeamSearch, GreedySearch
from lpr_lightning.demonstrations.demonstrator import Demonstrator
from lpr_lightning.demonstrations.genetic import GeneticSearch
from lpr_lightning.demonstrations.lookahead import look_ahead
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import InteractionBatch, PathRequest, SimulatorState


@dataclass
class Mixer(Ladder):
    """Learners whose concepts help and hinder one another at random, so that order and repetition matter."""

    def start(self, request: PathRequest) -> SimulatorState:
        generator = torch.Generator().manual_seed(3)
        level = torch.randn(64, self.num_concepts, generator=generator)
        return (level[request.row],)

    def step(self, state: SimulatorState, concept: Tensor) -> tuple[SimulatorState, Tensor, Tensor]:
        weight = torch.randn(2, self.num_concepts, self.num_concepts, generator=torch.Generator().manual_seed(4))
        index = concept.clamp_min(0)
        probability = self.mastery(state).gather(1, index[:, None])[:, 0]
        answer = (probability >= 0.5).float()
        new = (0.8 * state[0] + weight[answer.long(), index]).tanh() * 2
        going = concept >= 0
        return (torch.where(going[:, None], new, state[0]),), answer * going, probability * going

    def exam(self, state: SimulatorState, targets: Tensor) -> tuple[Tensor, Tensor]:
        return super().exam((self.mastery(state),), targets)

    def mastery(self, state: SimulatorState) -> Tensor:
        return state[0].sigmoid()


class LoopedMixer(Mixer):
    """The same learners with a look-ahead of their own that counts its calls."""

    calls = 0

    def lookahead(self, state: SimulatorState, concept: Tensor) -> tuple[SimulatorState, Tensor, Tensor]:
        type(self).calls += 1
        states, answers, probabilities = zip(*(self.step(state, column) for column in concept.unbind(1)))
        return (
            (torch.stack([part for (part,) in states], 1).flatten(0, 1),),
            torch.stack(answers, 1),
            torch.stack(probabilities, 1),
        )


class AssessedMixer(Mixer):
    """The same learners with an assessment of their own that counts its calls."""

    calls = 0

    def assess(self, state: SimulatorState, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        type(self).calls += 1
        mastery = self.mastery(state).view(len(targets), -1, self.num_concepts)
        wanted = targets[:, None].expand_as(mastery)
        passed = (wanted & (mastery >= 0.5)).sum(2).float()
        count = wanted.sum(2).float()
        return ((mastery * wanted).sum(2) / count.clamp_min(1)).flatten(), passed.flatten(), count.flatten()


def mixed_requests(count: int = 12, length: int = 3) -> PathRequest:
    generator = torch.Generator().manual_seed(5)
    request = Mixer().request(targets=[[0]] * count, length=length)
    return replace(request, targets=torch.rand(count, 4, generator=generator) < 0.8)


def effects(simulator: Ladder, request: PathRequest, path: Tensor) -> Tensor:
    """Return the learning effect of paths [B, K, L]."""
    result = rollout(simulator, request, path.flatten(0, 1), group_size=path.shape[1])
    return learning_effect(result.score_before, result.score_after, result.score_max).view(path.shape[:2])


def exhaustive(simulator: Ladder, request: PathRequest, length: int) -> Tensor:
    every = torch.tensor(list(itertools.product(range(simulator.num_concepts), repeat=length)))
    return effects(simulator, request, every.expand(len(request), -1, -1))


@pytest.mark.parametrize(
    "search",
    [BeamSearch(width=64), BeamSearch(width=64, candidates=4), GeneticSearch(population=48, generations=30)],
)
def test_reaches_the_exhaustive_optimum(search: Demonstrator) -> None:
    simulator, request = Mixer(), mixed_requests()
    best = exhaustive(simulator, request, 3).amax(1)
    assert len(set(best.tolist())) > 1
    found = search.search(request, simulator)
    torch.testing.assert_close(found.score[:, 0], best)
    torch.testing.assert_close(effects(simulator, request, found.path), found.score)


def test_genetic_search_climbs_the_ladder_though_the_first_steps_show_no_gain() -> None:
    ladder = Ladder(4)
    path = GeneticSearch().plan(ladder.request(targets=[[3], [0, 3]], length=4), ladder)
    assert path.tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("search", [BeamSearch(width=3), GreedySearch(), GeneticSearch(16, 5)])
def test_top_paths_are_distinct_sorted_and_rightly_scored(search: Demonstrator) -> None:
    simulator, request = Mixer(), mixed_requests()
    found = search.search(request, simulator, top=4)
    assert found.path.shape == (12, 4, 3)
    for paths in found.path.tolist():
        assert len({tuple(path) for path in paths}) == 4
    assert bool((found.score.diff(dim=1) <= 1e-6).all())
    torch.testing.assert_close(effects(simulator, request, found.path), found.score)


@pytest.mark.parametrize("search", [BeamSearch(width=3), GreedySearch(), GeneticSearch(16, 5, seeded_by_greedy=True)])
def test_more_paths_wanted_than_there_are(search: Demonstrator) -> None:
    ladder = Ladder(2)
    found = search.search(ladder.request(targets=[[0]], length=1), ladder, top=3)
    assert sorted(found.path[0, :2, 0].tolist()) == [0, 1]
    assert found.path[0, 2].tolist() == [-1]
    assert found.score[0].tolist() == [1.0, 0.0, -torch.inf]


@pytest.mark.parametrize("search", [BeamSearch(width=3), GreedySearch(), GeneticSearch(16, 5)])
def test_paths_end_at_the_wanted_length(search: Demonstrator) -> None:
    simulator = Mixer()
    request = replace(mixed_requests(), length=torch.arange(12) % 4)
    found = search.search(request, simulator, top=2)
    lengths = (found.path[:, 0] >= 0).sum(1)
    assert lengths.tolist() == request.length.tolist()
    torch.testing.assert_close(effects(simulator, request, found.path[:, :1]), found.score[:, :1])
    assert search.plan(request.select(torch.tensor([0])), simulator).shape == (1, 0)
    assert search.plan(request.select(torch.tensor([], dtype=torch.int64)), simulator).shape == (0, 0)


@pytest.mark.parametrize("search", [BeamSearch(width=3), BeamSearch(width=3, candidates=2), GreedySearch()])
def test_rows_held_at_once_change_nothing(search: Demonstrator) -> None:
    simulator, request = Mixer(), mixed_requests()
    whole = search.search(request, simulator, top=2)
    parts = replace(search, max_rows=1).search(request, simulator, top=2)
    assert torch.equal(whole.path, parts.path)


def test_greedy_is_beam_of_width_one_and_takes_the_best_next_step() -> None:
    simulator, request = Mixer(), mixed_requests(length=1)
    found = GreedySearch().search(request, simulator)
    assert torch.equal(found.path, BeamSearch(width=1).search(request, simulator).path)
    torch.testing.assert_close(found.score[:, 0], exhaustive(simulator, request, 1).amax(1))


def test_lookahead_of_the_simulator_is_used_and_equal() -> None:
    request = mixed_requests()
    plain, looped = Mixer(), LoopedMixer()
    concept = torch.tensor([[0, 3], [2, 1]]).repeat(6, 1)
    state = plain.start(request)
    for one, other in zip(look_ahead(plain, state, concept)[1:], looped.lookahead(state, concept)[1:]):
        assert torch.equal(one, other)
    before = LoopedMixer.calls
    found = BeamSearch(width=3).search(request, looped)
    assert LoopedMixer.calls > before
    assert torch.equal(found.path, BeamSearch(width=3).search(request, plain).path)


@pytest.mark.parametrize("search", [BeamSearch(width=3), GeneticSearch(8, 3)])
def test_assessment_of_the_simulator_is_used_and_equal(search: Demonstrator) -> None:
    request, before = mixed_requests(), AssessedMixer.calls
    found = search.search(request, AssessedMixer(), top=2)
    assert AssessedMixer.calls > before
    expected = search.search(request, Mixer(), top=2)
    assert torch.equal(found.path, expected.path)
    torch.testing.assert_close(found.score, expected.score)


def test_genetic_search_is_repeatable_and_depends_on_its_seed() -> None:
    simulator, request = Mixer(), mixed_requests()
    first, again, other = (GeneticSearch(4, 0, seed=seed, elite=1).plan(request, simulator) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_greedy_start_is_never_worse() -> None:
    simulator, request = Mixer(), mixed_requests()
    greedy = GreedySearch().search(request, simulator).score
    seeded = GeneticSearch(2, 0, elite=0, seeded_by_greedy=True).search(request, simulator).score
    assert bool((seeded >= greedy - 1e-6).all())


def test_more_generations_are_never_worse() -> None:
    simulator, request = Mixer(), mixed_requests()
    scores = [GeneticSearch(6, count, elite=1).search(request, simulator).score for count in (0, 2, 10)]
    assert bool((scores[0] <= scores[1] + 1e-6).all())
    assert bool((scores[1] <= scores[2] + 1e-6).all())
    assert scores[2].mean() > scores[0].mean()


def test_learners_who_know_everything_get_a_path_of_no_effect() -> None:
    ladder = Ladder(2)
    request = ladder.request(targets=[[0], []], length=2)
    known = InteractionBatch(
        concept=torch.zeros(2, 1, 1, dtype=torch.int64),
        item=torch.zeros(2, 1, dtype=torch.int64),
        correct=torch.ones(2, 1),
        mask=torch.ones(2, 1, dtype=torch.bool),
        learner=torch.arange(2),
    )
    for search in (BeamSearch(width=2), GeneticSearch(4, 2)):
        found = search.search(replace(request, history=known), ladder)
        assert found.score[:, 0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("population", 1),
        ("generations", -1),
        ("tournament", 0),
        ("elite", 64),
        ("crossover", 1.5),
        ("mutation", -0.1),
        ("max_rows", 0),
    ],
)
def test_genetic_settings_are_checked(name: str, value: float) -> None:
    with pytest.raises(SettingError, match=name):
        GeneticSearch(**{name: value})  # type: ignore[arg-type]


def test_beam_settings_are_checked() -> None:
    for name in ("width", "candidates", "max_rows"):
        with pytest.raises(SettingError, match=name):
            BeamSearch(**{name: 0})
    with pytest.raises(SettingError, match="top"):
        BeamSearch().search(mixed_requests(), Mixer(), top=0)
