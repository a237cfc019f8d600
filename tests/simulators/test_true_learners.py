"""Learners of known truth learn, forget and answer as their description says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lpr_lightning.checks import check_simulator
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import built, plain
from lpr_lightning.protocols import Simulator
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.practice_logs import practice_log
from lpr_lightning.simulators.synthetic_world import build_world
from lpr_lightning.simulators.true_learners import GrowthWorld, TrueLearners
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import Exercise, PathRequest, State


def learners(
    num_concepts: int = 12, num_items: int = 36, num_learners: int = 40, deterministic: bool = False
) -> TrueLearners:
    return TrueLearners(num_concepts, num_items, num_learners, deterministic=deterministic)


def requests(truth: TrueLearners) -> PathRequest:
    log = practice_log(truth, 20, 40, seed=0)
    examples = PathRequests(min_distinct=4).examples(log, "test", truth.num_concepts, seed=0)
    request = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(request, PathRequest)
    return request


def held(truth: TrueLearners, ability: list[list[float]]) -> State:
    """Abilities given as distances from the concepts' difficulties."""
    state = torch.tensor(ability) + truth.difficulty
    return state, state


def growth(truth: TrueLearners, state: State, concept: Tensor, correct: float = 1.0) -> Tensor:
    after = truth.practise(state, Exercise.of_concepts(concept), torch.full((len(concept),), correct))
    return (after[0] - state[0]).gather(1, concept[:, None]).squeeze(1)


def bank(truth: TrueLearners) -> QuestionActions:
    actions = QuestionActions(truth.num_items)
    actions.item_concepts = truth.item_concept[:, None]
    return actions


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("questions", [False, True])
def test_they_follow_the_rules_of_simulators(deterministic: bool, questions: bool) -> None:
    truth = learners(deterministic=deterministic)
    if questions:
        truth.action_set = bank(truth)
    assert isinstance(truth, Simulator)
    check_simulator(truth, requests(truth).select(torch.arange(8)))


def test_a_question_is_of_its_own_difficulty_and_an_unknown_one_of_its_concepts() -> None:
    truth = learners()
    state, item = truth.begin(torch.arange(3)), torch.tensor([13, 36, -1])
    predicted = truth.predict(state, Exercise(torch.tensor([[1], [1], [1]]), item))
    kind = truth.kind
    for row, hard in enumerate((truth.item_difficulty[13], truth.difficulty[1], truth.difficulty[1])):
        gap = kind.discrimination * float(truth.ability[row, 1] - hard)
        expected = kind.guess + (1 - kind.guess - kind.slip) / (1 + math.exp(-gap))
        assert float(predicted[row]) == pytest.approx(expected, abs=1e-5)


def test_growth_is_largest_near_the_level() -> None:
    truth = learners()
    gaps = torch.linspace(-4, 4, 81)
    state = held(truth, [[gap] * 12 for gap in gaps.tolist()])
    grown = growth(truth, state, torch.zeros(81, dtype=torch.int64))
    assert gaps[grown.argmax()].item() == pytest.approx(0, abs=1e-5)
    assert grown.max().item() == pytest.approx(GrowthWorld().rate)
    assert (grown[1:41] > grown[:40]).all()
    assert (grown[41:] < grown[40:-1]).all()
    assert grown[0] < 0.01


def test_prerequisites_gate_growth() -> None:
    truth = learners()
    assert truth.prerequisites is not None
    needed, needing = truth.prerequisites[0].tolist()
    ability = torch.full((3, 12), 5.0)
    ability[:, needing] = 0
    ability[:, needed] = torch.tensor([-2.0, 0.0, 2.0])
    grown = growth(truth, held(truth, ability.tolist()), torch.full((3,), needing))
    closed, half, open_ = (grown / GrowthWorld().rate).tolist()
    assert closed < 0.001
    assert half == pytest.approx(0.5, abs=1e-5)
    assert open_ > 0.99


def test_the_weakest_prerequisite_decides() -> None:
    truth = learners(num_concepts=60, num_items=60)
    needing = int(truth.needs.sum(1).argmax())
    needed = truth.needs[needing].nonzero().flatten()
    assert len(needed) > 1
    ability = torch.full((1, 60), 3.0)
    ability[:, needed[-1]] = -3.0
    assert truth.gate(held(truth, ability.tolist())[0], torch.tensor([needing])).item() < 0.001


def test_one_learns_less_from_a_wrong_answer() -> None:
    truth = learners()
    state, concept = held(truth, [[0.0] * 12]), torch.tensor([0])
    share = growth(truth, state, concept, 0.0) / growth(truth, state, concept, 1.0)
    assert share.item() == pytest.approx(GrowthWorld().wrong_share)


def test_gains_on_other_concepts_fade_towards_the_beginning() -> None:
    truth = learners()
    ability, beginning = torch.full((1, 12), 1.0), torch.zeros(1, 12)
    ability[0, 3] = 0.0
    after, still = truth.practise((ability, beginning), Exercise.of_concepts(torch.tensor([5])), torch.ones(1))
    assert after[0, 0].item() == pytest.approx(1 - GrowthWorld().forgetting)
    assert after[0, 3].item() == 0.0
    assert after[0, 5] >= 1.0
    assert torch.equal(still, beginning)


def test_repeating_one_concept_saturates() -> None:
    truth = learners(deterministic=True)
    state = held(truth, [[0.0] * 12])
    gains = []
    for _ in range(12):
        before = truth.mastery(state)[0, 0]
        asked = Exercise.of_concepts(torch.tensor([0]))
        state = truth.practise(state, asked, truth.respond(truth.predict(state, asked), None))
        gains.append((truth.mastery(state)[0, 0] - before).item())
    assert gains[0] > 0.3
    assert max(gains[6:]) < 0.01


def test_replay_of_a_log_gives_the_state_it_was_written_in(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = learners()
    seen: list[Tensor] = []
    practise = TrueLearners.practise

    def recording(self: TrueLearners, state: State, asked: Exercise, correct: Tensor) -> State:
        after = practise(self, state, asked, correct)
        seen.append(after[0])
        return after

    monkeypatch.setattr(TrueLearners, "practise", recording)
    request = requests(truth)
    monkeypatch.undo()
    ability, _ = truth.start(request)
    written = torch.stack(seen, 1)[request.learner, request.history.lengths - 1]
    assert len(request) > 20
    torch.testing.assert_close(ability, written)


def test_replay_agrees_with_a_slow_reference() -> None:
    truth = learners()
    request = requests(truth).select(torch.tensor([3]))
    kind, difficulty = truth.kind, truth.difficulty.double().tolist()
    beginning = truth.ability[request.learner[0]].double().tolist()
    ability = list(beginning)
    log = practice_log(truth, 20, 40, seed=0).select(request.learner)
    answers = list(zip(log.item.tolist(), log.concept[:, 0].tolist(), log.correct.tolist()))
    for item, concept, correct in answers[: int(request.history.lengths)]:
        gap = ability[concept] - truth.item_difficulty[item].item()
        needed = truth.needs[concept].nonzero().flatten().tolist()
        gate = min([1 / (1 + math.exp(-kind.gate * (ability[one] - difficulty[one]))) for one in needed], default=1.0)
        effort = 1.0 if correct else kind.wrong_share
        grown = ability[concept] + kind.rate * math.exp(-((gap / kind.zone) ** 2) / 2) * gate * effort
        ability = [now - kind.forgetting * (now - first) for now, first in zip(ability, beginning)]
        ability[concept] = grown
    torch.testing.assert_close(truth.start(request)[0][0], torch.tensor(ability), rtol=1e-4, atol=1e-4)


def test_success_runs_from_guess_to_slip() -> None:
    truth = learners()
    chance = truth.mastery(held(truth, [[-20.0] * 12, [0.0] * 12, [20.0] * 12]))[:, 0]
    assert chance.tolist() == pytest.approx([0.1, 0.1 + 0.85 / 2, 0.95], abs=1e-5)


def test_answers_come_with_the_probability_that_is_told() -> None:
    truth, rows = learners(num_learners=1), torch.arange(20000)
    asked = Exercise.of_concepts(torch.full((20000,), 4))
    chance = truth.predict(truth.begin(torch.zeros_like(rows)), asked)
    answer = truth.respond(chance, Draws.of(0, 0, rows))
    assert answer.mean().item() == pytest.approx(chance[0].item(), abs=0.015)
    assert set(answer.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("deterministic", [False, True])
def test_without_draws_or_where_deterministic_answers_are_the_likeliest(deterministic: bool) -> None:
    truth, chance = learners(deterministic=deterministic), torch.tensor([0.2, 0.49, 0.5, 0.9])
    draws = Draws.of(0, 0, torch.arange(4)) if deterministic else None
    assert truth.respond(chance, draws).tolist() == [0, 0, 1, 1]


def test_unseen_learners_begin_at_the_mean() -> None:
    truth = learners()
    ability, _ = truth.begin(torch.tensor([-1, 0, 40]))
    assert torch.equal(ability[0], truth.ability.mean(0))
    assert torch.equal(ability[1], truth.ability[0])
    assert torch.equal(ability[2], ability[0])


def test_the_world_is_its_seed() -> None:
    first, same, other = (build_world(30, 60, 10, seed) for seed in (1, 1, 2))
    assert torch.equal(first.ability, same.ability)
    assert torch.equal(first.prerequisites, same.prerequisites)
    assert not torch.equal(first.difficulty, other.difficulty)


def test_prerequisites_lie_one_level_below() -> None:
    world = build_world(60, 60, 1, seed=0)
    needed, needing = world.prerequisites.unbind(1)
    assert (world.level[needed] == world.level[needing] - 1).all()
    assert (world.topic[needed] != world.topic[needing]).any()
    assert len(set(world.names)) == 60
    assert len(world.prerequisites.unique(dim=0)) == len(needed)  # type: ignore[no-untyped-call]


def test_items_surround_their_concept() -> None:
    world = build_world(10, 100, 1, seed=0)
    for concept in range(10):
        mean = world.item_difficulty[world.item_concept == concept].mean()
        torch.testing.assert_close(mean, world.difficulty[concept], rtol=0, atol=1e-5)


def test_abilities_follow_the_learner_and_the_prerequisites() -> None:
    world = build_world(30, 30, 4000, seed=0)
    together = torch.corrcoef(world.ability.T)
    needed, needing = world.prerequisites.unbind(1)
    anyone = (together.sum() - 30) / (30 * 29)
    assert anyone > 0.4
    assert together[needed, needing].mean() > anyone + 0.1


def test_they_are_rebuilt_from_plain_values() -> None:
    truth = TrueLearners(12, 36, 40, GrowthWorld(rate=1.0), world_seed=3)
    again = _again(truth)
    assert torch.equal(truth.ability, again.ability)
    assert again.kind.rate == 1.0


def _again(truth: TrueLearners) -> TrueLearners:
    described = plain(truth)
    assert isinstance(described, dict)
    again = built(described, TrueLearners)
    assert again is not None
    return again


@pytest.mark.parametrize(
    ("concepts", "items", "count", "name"),
    [(1, 9, 9, "num_concepts"), (9, 8, 9, "num_items"), (9, 9, 0, "num_learners")],
)
def test_settings_that_cannot_work_are_refused(concepts: int, items: int, count: int, name: str) -> None:
    with pytest.raises(SettingError, match=name):
        TrueLearners(concepts, items, count)


@pytest.mark.parametrize(
    "wrong", [{"zone": 0.0}, {"rate": -1.0}, {"forgetting": 1.5}, {"guess": -0.1}, {"guess": 0.6, "slip": 0.5}]
)
def test_learning_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        GrowthWorld(**wrong)
