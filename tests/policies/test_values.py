"""What searches maximise, and what they may take: against slow references and exhaustive search in a gated world."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.policies import (
    AllActions,
    BeamSearch,
    Candidates,
    ChainValue,
    ClosureActions,
    ExamValue,
    GeneticSearch,
    GreedySearch,
    Oracle,
    PrerequisiteGraph,
    Search,
    TargetActions,
)
from lpr_lightning.policies.search import step
from lpr_lightning.policies.values import SearchValue
from lpr_lightning.protocols import Environment
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.true_learners import TrueLearners
from lpr_lightning.types import InteractionBatch, PathRequest

CONCEPTS, LENGTH = 5, 5


def world() -> TrueLearners:
    """One topic of five concepts, each needed for the next."""
    return TrueLearners(num_concepts=CONCEPTS, num_items=CONCEPTS, num_learners=30)


def graph() -> PrerequisiteGraph:
    return PrerequisiteGraph(world().world.prerequisites.tolist())


def requests(rows: int = 12, length: int = LENGTH) -> PathRequest:
    """Learners without history, whose targets are one or two of the upper concepts."""
    targets = torch.zeros(rows, CONCEPTS, dtype=torch.bool)
    targets[torch.arange(rows), 2 + torch.arange(rows) % 3] = True
    targets[::4, 1] = True
    learner = torch.arange(rows)
    history = InteractionBatch.empty(rows, learner=learner)
    return PathRequest(history, targets, torch.full((rows,), length), learner, learner)


def environment() -> Environment:
    return Environment(world(), Targets(SoftExam()))


def expected_effects(request: PathRequest, path: Tensor) -> Tensor:
    """Return the effect of paths [B, K, L] on learners who answer as expected, one step at a time."""
    learners, count = world(), path.shape[1]
    state = tuple(part.repeat_interleave(count, 0) for part in learners.start(request))
    targets = request.targets.repeat_interleave(count, 0)
    before = (learners.mastery(state) * targets).sum(1)
    for action in path.flatten(0, 1).unbind(1):
        state = step(learners, state, action, "expected")
    after = (learners.mastery(state) * targets).sum(1)
    return learning_effect(before, after, targets.sum(1).float()).view(len(request), count)


def chain(mastery: list[float], targets: list[int], credit: float, steepness: float, level: float) -> float:
    behind: dict[int, set[int]] = {one: set() for one in range(CONCEPTS)}
    for _ in range(CONCEPTS):
        for before, after in world().world.prerequisites.tolist():
            behind[after] |= {before} | behind[before]
    total = 0.0
    for target in targets:
        held = math.prod(1 / (1 + math.exp(-steepness * (mastery[a] - level))) for a in behind[target])
        total += mastery[target] + credit * (1 - mastery[target]) * math.sqrt(held)
    return total / len(targets)


@pytest.mark.parametrize(("credit", "steepness", "level"), [(0.5, 6.0, 0.5), (0.8, 3.0, 0.7)])
def test_chain_value_is_its_formula(credit: float, steepness: float, level: float) -> None:
    """Three states of each learner, who have one or two targets."""
    request, learners = requests(), world()
    state = tuple(part.repeat_interleave(3, 0) for part in learners.start(request))
    noise = torch.randn(state[0].shape, generator=torch.Generator().manual_seed(0))
    state = (state[0] + 2 * noise, state[1])
    concept = Targets().choose(learners, state, request)
    found = ChainValue(credit, steepness, level, graph()).guide(environment(), state, concept)
    wanted = [row.nonzero().flatten().tolist() for row in request.targets.repeat_interleave(3, 0)]
    mastery = learners.mastery(state).tolist()
    expected = [chain(m, w, credit, steepness, level) for m, w in zip(mastery, wanted)]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_without_a_graph_the_chain_credits_every_target_wholly() -> None:
    request, learners = requests(), world()
    state = learners.start(request)
    concept = Targets().choose(learners, state, request)
    mean = Targets().assess(learners, state, concept).mastery
    found = ChainValue(prerequisites=PrerequisiteGraph([])).guide(environment(), state, concept)
    torch.testing.assert_close(found, mean + 0.5 * (1 - mean))


def test_the_end_counts_targets_alone() -> None:
    standing = Targets(SoftExam()).assess(world(), world().start(requests()), torch.full((12, 1), 2))
    torch.testing.assert_close(ChainValue().final(standing, standing.score), standing.mastery, atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [ExamValue(), ChainValue(prerequisites=PrerequisiteGraph([(0, 1)]))])
def test_rounding_errors_choose_no_path(value: SearchValue) -> None:
    """States of steps of 2^-17 and the same with errors of a float's last place are worth the same."""
    ladder = Ladder(2)
    mastery = torch.tensor([[0.5, 0.25], [0.75, 0.125]])
    noisy = mastery * (1 + torch.tensor([[1e-7, -1e-7], [-1e-7, 1e-7]]))
    where, concept = Environment(ladder, Targets(SoftExam())), torch.tensor([[0], [1]])
    assert not torch.equal(mastery, noisy)
    exact, other = (value.guide(where, (one,), concept) for one in (mastery, noisy))
    assert torch.equal(exact, other)
    before = torch.tensor([0.25, 0.0])
    exact, other = (value.final(where.goal.assess(ladder, (one,), concept), before) for one in (mastery, noisy))
    assert torch.equal(exact, other)


WIDE = CONCEPTS**LENGTH


@pytest.mark.parametrize(
    "search",
    [
        BeamSearch(WIDE, value=ChainValue(prerequisites=graph()), answers="expected"),
        Oracle(value=ChainValue(prerequisites=graph()), candidates=ClosureActions(1.0, graph())),
        GeneticSearch(96, 40, value=ChainValue(), answers="expected", candidates=ClosureActions(1.0, graph())),
    ],
    ids=["wide", "oracle", "genetic"],
)
def test_searches_reach_the_exhaustive_optimum_where_prerequisites_gate_growth(search: Search) -> None:
    """A beam as wide as all paths must; the oracle, 32 wide and one order of each set, comes within a hundredth."""
    request = requests(6)
    every = torch.tensor(list(itertools.product(range(CONCEPTS), repeat=LENGTH)))
    best = expected_effects(request, every.expand(len(request), -1, -1)).amax(1)
    found = search.search(environment(), request)
    torch.testing.assert_close(expected_effects(request, found.path), found.effect, atol=1e-5, rtol=0)
    assert bool((found.effect[:, 0] <= best + 1e-5).all())
    assert bool((found.effect[:, 0] >= best - (1e-5 if search.name == "search" else 0.01)).all())


def test_credit_for_prerequisites_finds_what_target_mastery_alone_does_not() -> None:
    """Targets far ahead, and a narrow beam."""
    request = requests(20, length=8)
    request = replace(request, targets=torch.eye(CONCEPTS, dtype=torch.bool)[[4] * 20])
    without, with_credit = (
        BeamSearch(2, distinct_sets=True, value=value, answers="expected").search(environment(), request).effect.mean()
        for value in (ExamValue(), ChainValue(prerequisites=graph()))
    )
    assert with_credit > without + 0.05


def test_one_path_of_each_set_is_kept() -> None:
    request = requests(8, length=4)
    search = BeamSearch(16, value=ChainValue(prerequisites=graph()), answers="expected")
    usual = search.search(environment(), request, top=10).path
    distinct = replace(search, distinct_sets=True).search(environment(), request, top=10).path

    def sets(paths: Tensor) -> list[int]:
        return [len({tuple(sorted(path)) for path in one}) for one in paths.tolist()]

    assert sets(distinct) == [10] * 8
    assert min(sets(usual)) < 10


def test_of_a_set_the_best_order_is_kept() -> None:
    """Of all paths of two steps the best of each pair of actions, found by hand."""
    request = requests(5, length=2)
    every = torch.tensor(list(itertools.product(range(CONCEPTS), repeat=2)))
    effects = expected_effects(request, every.expand(5, -1, -1))
    search = BeamSearch(WIDE, distinct_sets=False, value=ChainValue(prerequisites=graph()), answers="expected")
    last = replace(search, width=CONCEPTS, distinct_sets=True).search(environment(), request, top=40)
    for row in range(5):
        best: dict[tuple[int, ...], float] = {}
        for path, effect in zip(every.tolist(), effects[row].tolist()):
            key = tuple(sorted(path))
            best[key] = max(best.get(key, -1.0), effect)
        found = [path for path in last.path[row].tolist() if path[0] >= 0]
        assert Counter(tuple(sorted(path)) for path in found) == Counter(dict.fromkeys(best, 1))
        assert last.effect[row, : len(found)].tolist() == pytest.approx(sorted(best.values(), reverse=True), abs=1e-5)


def allowed(candidates: Candidates, row: int) -> list[int]:
    request, learners = requests(), world()
    state = learners.start(request)
    concept = Targets().choose(learners, state, request)
    return candidates.allowed(environment(), state, concept)[row].nonzero().flatten().tolist()


def test_candidates_are_all_targets_or_targets_and_what_they_lack() -> None:
    """Row 1 has target 3, which needs 2, 1 and 0."""
    assert allowed(AllActions(), 1) == [0, 1, 2, 3, 4]
    assert allowed(TargetActions(), 1) == [3]
    mastery = world().mastery(world().start(requests()))[1].tolist()
    for below in (0.3, 0.5, 0.8, 1.0):
        expected = [concept for concept in range(4) if concept == 3 or mastery[concept] < below]
        assert allowed(ClosureActions(below, graph()), 1) == expected
    assert len({len(allowed(ClosureActions(below, graph()), 1)) for below in (0.3, 0.5, 0.8, 1.0)}) > 1


def test_questions_are_candidates_by_their_concepts_and_all_are_where_none_is_on_a_target() -> None:
    learners, request = world(), requests()
    actions = QuestionActions(4)
    actions.item_concepts = torch.tensor([[0, 3], [1, -1], [3, -1], [0, -1]])
    learners.action_set = actions
    state = learners.start(request)
    concept = Targets().choose(learners, state, request)
    found = TargetActions().allowed(Environment(learners, Targets()), state, concept)
    assert found[1].nonzero().flatten().tolist() == [0, 2]
    assert found[2].tolist() == [True] * 4  # target 4, on which there is no question


@pytest.mark.parametrize(
    "search",
    [
        BeamSearch(3, candidates=ClosureActions(0.7, graph())),
        BeamSearch(3, tried=2, candidates=TargetActions()),
        GreedySearch(candidates=ClosureActions(0.7, graph())),
        GeneticSearch(8, 3, seeded_by_greedy=True, candidates=ClosureActions(0.7, graph())),
        Oracle(4, value=ChainValue(prerequisites=graph()), candidates=ClosureActions(0.7, graph())),
    ],
)
def test_searches_take_candidates_alone_in_any_batch(search: Search) -> None:
    """Learners have different numbers of candidates, so that some have places left over in a batch."""
    request = requests(12, length=3)
    found = search.search(environment(), request, top=4)
    for row in range(12):
        taken = {action for action in found.path[row].flatten().tolist() if action >= 0}
        assert taken <= set(allowed(search.candidates, row))
        there = found.effect[row] > -torch.inf
        assert bool(there[0])
        assert torch.equal(there, (found.path[row] >= 0).all(1))
        alone = search.search(environment(), request.select(torch.tensor([row])), top=4)
        assert torch.equal(alone.path[0], found.path[row])
    parts = replace(search, max_rows=1).search(environment(), request, top=4)
    assert torch.equal(parts.path, found.path)


def test_expected_answers_are_the_probabilities() -> None:
    learners, request = world(), requests(4)
    state, action = learners.start(request), torch.tensor([0, 1, 2, 3])
    asked = learners.actions.at(action)
    probability = learners.predict(state, asked)
    assert torch.equal(step(learners, state, action, "expected")[0], learners.practise(state, asked, probability)[0])
    assert torch.equal(
        step(learners, state, action)[0], learners.practise(state, asked, (probability >= 0.5).float())[0]
    )


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="credit"):
        ChainValue(credit=1.5)
    with pytest.raises(SettingError, match="steepness"):
        ChainValue(steepness=0.0)
    with pytest.raises(SettingError, match="below"):
        ClosureActions(below=0.0)
    with pytest.raises(SettingError, match="answers"):
        BeamSearch(answers="true")  # type: ignore[arg-type]
