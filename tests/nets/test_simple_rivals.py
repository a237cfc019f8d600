"""The simplest rivals, against loops over a log."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lpr_lightning.checks import check_tracer
from lpr_lightning.functional.open_loop import follow_logs
from lpr_lightning.nets.simple_rivals import (
    SMOOTHING,
    LastAnswer,
    LogisticSum,
    QuestionMean,
    SimpleRival,
    simple_rivals,
)
from lpr_lightning.types import PAD, Exercise, Interactions

CONCEPTS, ITEMS, LEARNERS = 4, 12, 60
NAMES = ("learner_mean", "concept_mean", "question_mean", "logistic_sum", "last_answer")


def make_log(seed: int = 0) -> Interactions:
    """Return answers that depend on learner and question; an eighth of the questions is on two concepts."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 15, (LEARNERS,), generator=generator)
    learner = torch.arange(LEARNERS).repeat_interleave(lengths)
    skill, ease = torch.randn(LEARNERS, generator=generator), torch.randn(ITEMS, generator=generator)
    item = torch.randint(ITEMS, (len(learner),), generator=generator)
    chance = (skill[learner] + 1.5 * ease[item]).sigmoid()
    correct = (torch.rand(len(learner), generator=generator) < chance).to(torch.uint8)
    second = torch.where(item % 8 == 0, (item + 1) % CONCEPTS, PAD)
    concept = torch.stack([item % CONCEPTS, second], 1).int()
    return Interactions(F.pad(lengths.cumsum(0), (1, 0)), torch.arange(LEARNERS), item.int(), concept, correct)


def rates_by_hand(log: Interactions) -> tuple[float, list[float]]:
    """Return the rate of right answers, and that on each concept drawn towards it as by two answers."""
    overall = float(np.mean(log.correct.numpy()))
    rates = []
    for concept in range(CONCEPTS):
        right = [int(y) for c, y in zip(log.concept.tolist(), log.correct) if concept in c]
        rates.append((sum(right) + 2 * overall) / (len(right) + 2))
    return overall, rates


@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_rules_of_tracers(name: str) -> None:
    check_tracer(simple_rivals(CONCEPTS, ITEMS, make_log())[name], make_log(2).batch(torch.arange(8)))


def test_means_match_a_loop() -> None:
    log = make_log()
    rivals, (overall, rates) = simple_rivals(CONCEPTS, ITEMS, log), rates_by_hand(log)
    batch = log.batch(torch.arange(LEARNERS))
    smoothing = rivals["question_mean"].smoothing
    assert smoothing in SMOOTHING
    found = {name: follow_logs(one, one.initial_state(LEARNERS), batch, 1, 100).answers for name, one in rivals.items()}
    expected: dict[str, dict[tuple[int, int], list[float]]] = {
        "learner_mean": {},
        "concept_mean": {},
        "question_mean": {},
    }
    for row in range(LEARNERS):
        for step in range(1, int(batch.lengths[row])):
            item, concept = int(batch.item[row, step]), [c for c in batch.concept[row, step].tolist() if c >= 0]
            before = batch.correct[row, :step]
            base = float(np.mean([rates[one] for one in concept]))
            answers = [int(y) for i, y in zip(log.item.tolist(), log.correct) if i == item]
            key = row, item
            expected["learner_mean"].setdefault(key, []).append((float(before.sum()) + 2 * overall) / (step + 2))
            expected["concept_mean"].setdefault(key, []).append(base)
            question = (sum(answers) + smoothing * base) / (len(answers) + smoothing)
            expected["question_mean"].setdefault(key, []).append(question)
    for name, values in expected.items():
        got: dict[tuple[int, int], list[float]] = {}
        for learner, item, probability in zip(found[name].learner, found[name].item, found[name].probability):
            got.setdefault((int(learner), int(item)), []).append(float(probability))
        assert {key: pytest.approx(sorted(one), abs=1e-5) for key, one in values.items()} == {
            key: sorted(one) for key, one in got.items()
        }


def test_the_smoothing_is_the_likeliest_of_left_out_answers() -> None:
    log = make_log(3)
    _, rates = rates_by_hand(log)
    losses = []
    for smoothing in SMOOTHING:
        loss = 0.0
        for place, (item, correct) in enumerate(zip(log.item.tolist(), log.correct.tolist())):
            base = float(np.mean([rates[one] for one in log.concept[place].tolist() if one >= 0]))
            others = [
                y for i, (j, y) in enumerate(zip(log.item.tolist(), log.correct.tolist())) if j == item and i != place
            ]
            rate = (sum(others) + smoothing * base) / (len(others) + smoothing)
            loss -= np.log(rate if correct else 1 - rate)
        losses.append(loss)
    assert QuestionMean(CONCEPTS, ITEMS, log).smoothing == SMOOTHING[int(np.argmin(losses))]


def test_the_rates_after_the_last_answer_match_a_loop() -> None:
    log = make_log()
    counts, rights = [0, 0, 0], [0, 0, 0]
    for row in range(LEARNERS):
        last: dict[int, int] = {}
        for place in range(int(log.offsets[row]), int(log.offsets[row + 1])):
            concepts, correct = [c for c in log.concept[place].tolist() if c >= 0], int(log.correct[place])
            mean = np.mean([last.get(one, 0.5) for one in concepts])
            group = 1 if mean == 0.5 else 2 * int(mean > 0.5)
            counts[group] += 1
            rights[group] += correct
            last |= dict.fromkeys(concepts, correct)
    rival, overall = LastAnswer(CONCEPTS, ITEMS, log), float(log.correct.float().mean())
    expected = [(right + overall) / (count + 1) for right, count in zip(rights, counts)]
    assert rival.rate.tolist() == pytest.approx(expected)
    assert rival.rate[0] < rival.rate[2]


def test_the_sum_is_the_likeliest_one() -> None:
    """The gradient of the likelihood is 0 at the weights, by finite differences of a loss written anew."""
    log = make_log()
    rival, overall = LogisticSum(CONCEPTS, ITEMS, log), float(log.correct.float().mean())
    _, rates = rates_by_hand(log)
    features = []
    for row in range(LEARNERS):
        start, stop = int(log.offsets[row]), int(log.offsets[row + 1])
        for place in range(start, stop):
            before = log.correct[start:place].float()
            base = float(np.mean([rates[one] for one in log.concept[place].tolist() if one >= 0]))
            others = [float(y) for i, y in enumerate(log.correct) if log.item[i] == log.item[place] and i != place]
            question = (sum(others) + rival.smoothing * base) / (len(others) + rival.smoothing)
            own = (float(before.sum()) + 2 * overall) / (len(before) + 2)
            features.append([1.0, np.log(own / (1 - own)), np.log(question / (1 - question))])
    table, correct = np.array(features), log.correct.numpy().astype(float)

    def loss(weight: np.ndarray) -> float:
        logit = table @ weight
        return float(np.mean(np.log1p(np.exp(logit)) - correct * logit))

    weight = rival.weight.double().numpy()
    for axis in range(3):
        step = np.eye(3)[axis] * 1e-4
        assert (loss(weight + step) - loss(weight - step)) / 2e-4 == pytest.approx(0, abs=2e-4)
    assert weight[1] > 0.2
    assert weight[2] > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_practice_changes_nothing(name: str) -> None:
    rival: SimpleRival = simple_rivals(CONCEPTS, ITEMS, make_log())[name]
    state = rival.encode(make_log(1).batch(torch.arange(3)))
    after = rival.practise(state, Exercise.of_concepts(torch.tensor([0, 1, 2])), torch.ones(3))
    assert all(torch.equal(old, new) for old, new in zip(state, after))


def test_unknown_questions_are_asked_by_their_concepts() -> None:
    rival = QuestionMean(CONCEPTS, ITEMS, make_log())
    concept = torch.tensor([[1, PAD], [1, PAD]])
    found = rival.predict(rival.initial_state(2), Exercise(concept, torch.tensor([PAD, ITEMS])))
    torch.testing.assert_close(found, rival.concept_rate[[1, 1]])
