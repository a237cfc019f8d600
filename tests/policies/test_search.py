"""Searches against exhaustive search, on learners whose best paths can be enumerated."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.goals import Targets, WeakestConcept
from lpr_lightning.policies import BeamSearch, GeneticSearch, GreedySearch, Search, follow_paths
from lpr_lightning.policies.mixed_paths import mixed_paths
from lpr_lightning.protocols import Environment
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import Exercise, InteractionBatch, PathRequest, State


@dataclass
class Mixer(Ladder):
    """Learners whose concepts help and hinder one another at random, so that order and repetition matter."""

    def start(self, request: PathRequest) -> State:
        generator = torch.Generator().manual_seed(3)
        level = torch.randn(64, self.num_concepts, generator=generator)
        return (level[request.row],)

    def predict(self, state: State, asked: Exercise) -> Tensor:
        return super().predict((state[0].sigmoid(),), asked)

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        weight = torch.randn(2, self.num_concepts, self.num_concepts, generator=torch.Generator().manual_seed(4))
        concept = asked.candidates().concept[..., 0]
        before = state[0].repeat_interleave(concept.shape[1], 0)
        index, answer = concept.flatten(), correct.flatten().long()
        after = (0.8 * before + weight[answer, index.clamp_min(0)]).tanh() * 2
        return (torch.where((index >= 0)[:, None], after, before),)

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        return super().mastery((state[0].sigmoid(),), concept)


@dataclass
class Contrary(Mixer):
    """The same learners, who answer the other way round than a model of them expects."""

    def respond(self, probability: Tensor, draws: object) -> Tensor:
        return 1 - super().respond(probability, None)


def environment(simulator: Ladder) -> Environment:
    return Environment(simulator, Targets())


def mixed_requests(count: int = 12, length: int = 3) -> PathRequest:
    generator = torch.Generator().manual_seed(5)
    request = Mixer().request(targets=[[0]] * count, length=length)
    return replace(request, targets=torch.rand(count, 4, generator=generator) < 0.8)


def effects(simulator: Ladder, request: PathRequest, path: Tensor) -> Tensor:
    """Return the learning effect of paths [B, K, L]."""
    result = follow_paths(simulator, Targets(), request, path.flatten(0, 1), group_size=path.shape[1])
    return learning_effect(result.score_before, result.score_after, result.score_max).view(path.shape[:2])


def exhaustive(simulator: Ladder, request: PathRequest, length: int) -> Tensor:
    every = torch.tensor(list(itertools.product(range(simulator.num_concepts), repeat=length)))
    return effects(simulator, request, every.expand(len(request), -1, -1))


@pytest.mark.parametrize(
    "search",
    [BeamSearch(width=64), BeamSearch(width=64, tried=4), GeneticSearch(population=48, generations=30)],
)
def test_reaches_the_exhaustive_optimum(search: Search) -> None:
    simulator, request = Mixer(), mixed_requests()
    best = exhaustive(simulator, request, 3).amax(1)
    assert len(set(best.tolist())) > 1
    found = search.search(environment(simulator), request)
    torch.testing.assert_close(found.effect[:, 0], best)
    torch.testing.assert_close(effects(simulator, request, found.path), found.effect)


def test_genetic_search_climbs_the_ladder_though_the_first_steps_show_no_gain() -> None:
    ladder = Ladder(4)
    path = GeneticSearch().search(environment(ladder), ladder.request(targets=[[3], [0, 3]], length=4)).path
    assert path.tolist() == [[[0, 1, 2, 3]]] * 2


@pytest.mark.parametrize("search", [BeamSearch(width=3), GreedySearch(), GeneticSearch(16, 5)])
def test_top_paths_are_distinct_sorted_and_rightly_scored(search: Search) -> None:
    simulator, request = Mixer(), mixed_requests()
    found = search.search(environment(simulator), request, top=4)
    assert found.path.shape == (12, 4, 3)
    for paths in found.path.tolist():
        assert len({tuple(path) for path in paths}) == 4
    assert bool((found.effect.diff(dim=1) <= 1e-6).all())
    torch.testing.assert_close(effects(simulator, request, found.path), found.effect)


@pytest.mark.parametrize("search", [BeamSearch(width=3), GreedySearch(), GeneticSearch(16, 5, seeded_by_greedy=True)])
def test_more_paths_wanted_than_there_are(search: Search) -> None:
    ladder = Ladder(2)
    found = search.search(environment(ladder), ladder.request(targets=[[0]], length=1), top=3)
    assert sorted(found.path[0, :2, 0].tolist()) == [0, 1]
    assert found.path[0, 2].tolist() == [-1]
    assert found.effect[0].tolist() == [1.0, 0.0, -torch.inf]


@pytest.mark.parametrize("search", [BeamSearch(width=3), GreedySearch(), GeneticSearch(16, 5)])
def test_paths_end_at_the_wanted_length(search: Search) -> None:
    simulator = Mixer()
    request = replace(mixed_requests(), length=torch.arange(12) % 4)
    found = search.search(environment(simulator), request, top=2)
    lengths = (found.path[:, 0] >= 0).sum(1)
    assert lengths.tolist() == request.length.tolist()
    torch.testing.assert_close(effects(simulator, request, found.path[:, :1]), found.effect[:, :1])
    for rows, shape in (([0], (1, 1, 0)), ([], (0, 1, 0))):
        index = torch.tensor(rows, dtype=torch.int64)
        assert search.search(environment(simulator), request.select(index)).path.shape == shape


@pytest.mark.parametrize("search", [BeamSearch(width=3), BeamSearch(width=3, tried=2), GreedySearch()])
def test_rows_held_at_once_change_nothing(search: Search) -> None:
    simulator, request = Mixer(), mixed_requests()
    whole = search.search(environment(simulator), request, top=2)
    parts = replace(search, max_rows=1).search(environment(simulator), request, top=2)
    assert torch.equal(whole.path, parts.path)


def test_greedy_is_beam_of_width_one_and_takes_the_best_next_step() -> None:
    simulator, request = Mixer(), mixed_requests(length=1)
    found = GreedySearch().search(environment(simulator), request)
    assert torch.equal(found.path, BeamSearch(width=1).search(environment(simulator), request).path)
    torch.testing.assert_close(found.effect[:, 0], exhaustive(simulator, request, 1).amax(1))


@pytest.mark.parametrize(
    "search",
    [
        BeamSearch(width=3),
        BeamSearch(width=3, tried=2),
        GreedySearch(),
        GeneticSearch(6, 3, seeded_by_greedy=True),
    ],
)
def test_a_learner_alone_gets_the_paths_it_gets_in_company(search: Search) -> None:
    request = replace(mixed_requests(), length=torch.arange(12) % 4)
    together = search.search(environment(Mixer()), request, top=2)
    for row in (1, 2, 7):
        alone = search.search(environment(Mixer()), request.select(torch.tensor([row])), top=2)
        assert torch.equal(alone.path[0], together.path[row, :, : int(request.length[row])])


@pytest.mark.parametrize("replan", [False, True])
def test_a_search_is_a_policy_that_follows_what_it_found(replan: bool) -> None:
    """Where learners answer as expected, searching anew finds the rest of the path, if the search is exhaustive."""
    simulator, request = Mixer(), replace(mixed_requests(), length=torch.arange(12) % 4)
    search = BeamSearch(width=64, replan=replan)
    taught = rollout(simulator, Targets(), request, search)
    found = search.search(environment(simulator), request)
    effect = learning_effect(taught.score_before, taught.score_after, taught.score_max)
    torch.testing.assert_close(effect, found.effect[:, 0])
    if not replan:
        assert torch.equal(taught.action, found.path[:, 0])


def test_searching_anew_takes_the_answers_that_were_given() -> None:
    """What is planned at each step is the best path from the state after the real answers."""
    learners, request = Contrary(), mixed_requests()
    model = Mixer()
    taught = rollout(learners, Targets(), request, BeamSearch(width=64, replan=True), model=model)
    planned = rollout(learners, Targets(), request, BeamSearch(width=64), model=model)
    assert not torch.equal(taught.action, planned.action)
    state, search = model.start(request), BeamSearch(width=64)
    concept = Targets().choose(model, state, request)
    for step in range(3):
        left = request.length - step
        path = search.paths(environment(model), state, concept, left, request.row, 1).path[:, 0, 0]
        assert torch.equal(taught.action[:, step], path)
        state = model.observe(state, model.actions.at(path), taught.response[:, step])


def test_searching_anew_is_for_the_goal_of_the_moment() -> None:
    ladder = Ladder(3)
    taught = rollout(ladder, WeakestConcept(), ladder.request([[]], 3), GreedySearch(replan=True))
    assert taught.action.tolist() == [[0, 1, 2]]


def test_genetic_search_is_repeatable_and_depends_on_its_seed() -> None:
    simulator, request = Mixer(), mixed_requests()
    first, again, other = (
        GeneticSearch(4, 0, seed=seed, elite=1).search(environment(simulator), request).path for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_greedy_start_is_never_worse() -> None:
    simulator, request = Mixer(), mixed_requests()
    greedy = GreedySearch().search(environment(simulator), request).effect
    seeded = GeneticSearch(2, 0, elite=0, seeded_by_greedy=True).search(environment(simulator), request).effect
    assert bool((seeded >= greedy - 1e-6).all())


def test_more_generations_are_never_worse() -> None:
    simulator, request = Mixer(), mixed_requests()
    scores = [GeneticSearch(6, count, elite=1).search(environment(simulator), request).effect for count in (0, 2, 10)]
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
    searches: list[Search] = [BeamSearch(width=2), GeneticSearch(4, 2)]
    for search in searches:
        found = search.search(environment(ladder), replace(request, history=known))
        assert found.effect[:, 0].tolist() == [0.0, 0.0]


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


@pytest.mark.parametrize("name", ["width", "tried", "max_rows"])
def test_beam_settings_are_checked(name: str) -> None:
    with pytest.raises(SettingError, match=name):
        BeamSearch(**{name: 0})  # type: ignore[arg-type]


def test_no_path_at_all_is_refused() -> None:
    with pytest.raises(SettingError, match="top"):
        BeamSearch().search(environment(Mixer()), mixed_requests(), top=0)


def test_no_random_number_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or two decisions, such as where to cross paths and whether to, would depend on each other."""
    drawn: list[bytes] = []
    places = Draws._places

    def noted(draws: Draws, shape: tuple[int, ...]) -> Tensor:
        drawn.append(draws.key.numpy().tobytes())
        return places(draws, shape)

    monkeypatch.setattr(Draws, "_places", noted)
    GeneticSearch(8, 3, elite=2).search(environment(Mixer()), mixed_requests())
    assert len(drawn) > 10
    assert len(set(drawn)) == len(drawn)
    drawn.clear()
    planned = torch.zeros(2, 1, 3, dtype=torch.long)
    draws = Draws.of(0, 0, torch.arange(2))
    mixed_paths(planned, torch.ones(2, 4).bool(), torch.tensor([3, 3]), 8, draws)
    assert len(set(drawn)) == len(drawn) >= 5
