"""Learners of known truth learn, forget and answer as their description says."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import built, plain
from lpr_lightning.simulators.check import check_simulator
from lpr_lightning.simulators.practice_logs import practice_log
from lpr_lightning.simulators.synthetic_world import build_world
from lpr_lightning.simulators.true_learners import Learning, TrueLearners
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import PathRequest, Simulator, SimulatorState


def learners(**changes: Any) -> TrueLearners:
    return TrueLearners(**{"num_concepts": 12, "num_items": 36, "num_learners": 40} | changes)


def requests(truth: TrueLearners) -> PathRequest:
    log = practice_log(truth, 20, 40, seed=0)
    examples = PathRequests(min_distinct=4).examples(log, "test", truth.num_concepts, seed=0)
    request: PathRequest = examples.batch(torch.arange(len(examples.sizes)))
    return request


def held(truth: TrueLearners, ability: list[list[float]]) -> SimulatorState:
    """Abilities given as distances from the concepts' difficulties."""
    state = torch.tensor(ability) + truth.difficulty
    return state, state


def growth(truth: TrueLearners, state: SimulatorState, concept: Tensor, correct: float = 1.0) -> Tensor:
    after = truth.practise(state, concept, truth.difficulty[concept], torch.full((len(concept),), correct))
    return (after[0] - state[0]).gather(1, concept[:, None]).squeeze(1)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("exam", ["soft", "hard"])
def test_they_keep_the_rules_of_simulators(deterministic: bool, exam: str) -> None:
    truth = learners(deterministic=deterministic, exam=exam)
    assert isinstance(truth, Simulator)
    check_simulator(truth, requests(truth).select(torch.arange(8)))


def test_growth_is_largest_near_the_level() -> None:
    truth = learners()
    gaps = torch.linspace(-4, 4, 81)
    state = held(truth, [[gap] * 12 for gap in gaps.tolist()])
    grown = growth(truth, state, torch.zeros(81, dtype=torch.int64))
    assert gaps[grown.argmax()].item() == pytest.approx(0, abs=1e-5)
    assert grown.max().item() == pytest.approx(Learning().rate)
    assert (grown[1:41] > grown[:40]).all()
    assert (grown[41:] < grown[40:-1]).all()
    assert grown[0] < 0.01


def test_prerequisites_gate_growth() -> None:
    truth = learners()
    needed, needing = truth.prerequisites[0].tolist()
    ability = torch.full((3, 12), 5.0)
    ability[:, needing] = 0
    ability[:, needed] = torch.tensor([-2.0, 0.0, 2.0])
    grown = growth(truth, held(truth, ability.tolist()), torch.full((3,), needing))
    closed, half, open_ = (grown / Learning().rate).tolist()
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
    assert truth.gate(held(truth, ability.tolist()), torch.tensor([needing])).item() < 0.001


def test_one_learns_less_from_a_wrong_answer() -> None:
    truth = learners()
    state, concept = held(truth, [[0.0] * 12]), torch.tensor([0])
    share = growth(truth, state, concept, 0.0) / growth(truth, state, concept, 1.0)
    assert share.item() == pytest.approx(Learning().wrong_share)


def test_gains_on_other_concepts_fade_towards_the_beginning() -> None:
    truth = learners()
    ability, beginning = torch.full((1, 12), 1.0), torch.zeros(1, 12)
    ability[0, 3] = 0.0
    after, still = truth.practise((ability, beginning), torch.tensor([5]), torch.tensor([0.0]), torch.tensor([1.0]))
    assert after[0, 0].item() == pytest.approx(1 - Learning().forgetting)
    assert after[0, 3].item() == 0.0
    assert after[0, 5] >= 1.0
    assert torch.equal(still, beginning)


def test_repeating_one_concept_saturates() -> None:
    truth = learners(deterministic=True)
    state = held(truth, [[0.0] * 12])
    gains = []
    for _ in range(12):
        before = truth.mastery(state)[0, 0]
        state, _, _ = truth.step(state, torch.tensor([0]))
        gains.append((truth.mastery(state)[0, 0] - before).item())
    assert gains[0] > 0.3
    assert max(gains[6:]) < 0.01


def test_replay_of_a_log_gives_the_state_it_was_written_in(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, seen = learners(), []
    practise = TrueLearners.practise

    def recording(self: TrueLearners, *step: Any) -> SimulatorState:
        state = practise(self, *step)
        seen.append(state[0])
        return state

    monkeypatch.setattr(TrueLearners, "practise", recording)
    log = practice_log(truth, 20, 40, seed=0)
    monkeypatch.undo()
    examples = PathRequests(min_distinct=4).examples(log, "test", 12, seed=0)
    request = examples.batch(torch.arange(len(examples.sizes)))
    ability, _ = truth.start(request)
    written = torch.stack(seen, 1)[request.learner, request.history.lengths - 1]
    assert len(request) > 20
    torch.testing.assert_close(ability, written)


def test_replay_agrees_with_a_slow_reference() -> None:
    truth = learners()
    request = requests(truth).select(torch.tensor([3]))
    kind, difficulty = truth.learning, truth.difficulty.double().tolist()
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
    truth = learners(num_learners=1)
    state = truth.begin(torch.zeros(20000, dtype=torch.int64))
    _, answer, chance = truth.step(state, torch.full((20000,), 4))
    assert answer.mean().item() == pytest.approx(chance[0].item(), abs=0.015)


def test_exams_mark_softly_or_hard() -> None:
    targets = torch.zeros(1, 12, dtype=torch.bool)
    targets[0, [0, 1, 2]] = True
    ability = [[3.0, 0.5, -3.0, *[0.0] * 9]]
    soft, hard = learners(exam="soft"), learners(exam="hard", threshold=0.9)
    score, best = soft.exam(held(soft, ability), targets)
    assert score.item() == pytest.approx(soft.mastery(held(soft, ability))[0, :3].sum().item())
    assert best.item() == 3
    score, best = hard.exam(held(hard, ability), targets)
    assert (score.item(), best.item()) == (1, 3)


def test_strangers_begin_at_the_mean() -> None:
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


def test_a_copy_goes_on_with_the_same_random_numbers() -> None:
    truth = learners()
    state = truth.begin(torch.arange(40))
    concept = torch.zeros(40, dtype=torch.int64)
    truth.step(state, concept)
    twin = copy.deepcopy(truth)
    assert torch.equal(truth.step(state, concept)[1], twin.step(state, concept)[1])


def test_they_are_rebuilt_from_plain_values() -> None:
    truth = learners(learning=Learning(rate=1.0), world_seed=3)
    again = built(plain(truth))
    assert torch.equal(truth.ability, again.ability)
    assert again.learning.rate == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_concepts": 1},
        {"num_items": 11},
        {"num_learners": 0},
        {"exam": "oral"},
        {"threshold": 1.0},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        learners(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"zone": 0.0}, {"rate": -1.0}, {"forgetting": 1.5}, {"guess": -0.1}, {"guess": 0.6, "slip": 0.5}]
)
def test_learning_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        Learning(**wrong)
