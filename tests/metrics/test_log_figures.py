"""Figures along logs: the truth is calibrated, a rival without growth is not, and batches change nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lpr_lightning.functional.open_loop import Steps
from lpr_lightning.metrics import AnswerMetrics
from lpr_lightning.metrics.log_figures import Figures, LogFigures
from lpr_lightning.nets.simple_rivals import ConceptMean
from lpr_lightning.simulators.true_learners import TrueLearners
from lpr_lightning.types import Exercise, Interactions, State

CONCEPTS, LEARNERS = 8, 120


@pytest.fixture(scope="module")
def truth() -> TrueLearners:
    """Learners of known truth."""
    return TrueLearners(CONCEPTS, 5 * CONCEPTS, LEARNERS)


@pytest.fixture(scope="module")
def log(truth: TrueLearners) -> Interactions:
    """What they answered on their own."""
    return truth.practice_log(30, 60)


class Eager:
    """Learners of known truth of whom practice is believed to bring much more than it does."""

    def __init__(self, truth: TrueLearners) -> None:
        self.truth, self.observe = truth, truth.observe

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        for _ in range(3):
            state = self.truth.practise(state, asked, correct)
        return state

    def predict(self, state: State, asked: Exercise) -> Tensor:
        return self.truth.predict(state, asked)


def figures(model: Steps, truth: TrueLearners, log: Interactions) -> Figures:
    return LogFigures((1, 5), stride=2, resamples=200).compute(model, truth.begin, log)


def test_the_truth_is_calibrated_and_an_eager_simulator_is_not(truth: TrueLearners, log: Interactions) -> None:
    right, wrong = figures(truth, truth, log), figures(Eager(truth), truth, log)
    assert right["auc"] == wrong["auc"] > 0.7
    assert right["gain_slope_low"] < 1 < right["gain_slope_high"]
    assert wrong["gain_slope_high"] < right["gain_slope"]
    assert right["gain_error"] < 0.02
    assert right["gain_error"] < wrong["gain_error"]
    assert right["open_loop_1"] > 0.7


def test_a_rival_without_growth_has_an_error_and_no_slope(truth: TrueLearners, log: Interactions) -> None:
    rival = ConceptMean(CONCEPTS, 5 * CONCEPTS, log)
    found = LogFigures((1, 5), 2, 20).compute(rival, lambda learner: rival.initial_state(len(learner)), log)
    assert math.isnan(found["gain_slope"])
    assert found["gain_number_1_predicted"] == 0
    assert found["gain_error"] > 0


def test_cells_hold_all_pairs_and_answers_are_all_but_the_first(truth: TrueLearners, log: Interactions) -> None:
    found = figures(truth, truth, log)
    numbers = sum(found[f"gain_number_{cell}_count"] for cell in range(5))
    assert numbers == sum(found[f"gain_kind_{cell}_count"] for cell in range(4)) > 100
    assert found["gain_number_0_count"] == found["gain_kind_0_count"]
    assert found["answers"] == len(log) - LEARNERS


def test_the_first_step_ahead_is_the_next_answer(truth: TrueLearners, log: Interactions) -> None:
    """With a state frozen after every answer, one step ahead is what AUC counts; so it does here."""
    followed = LogFigures((1,), stride=1).follow(truth, truth.begin, log)
    whole, ahead = AnswerMetrics(), AnswerMetrics()
    whole.update(followed.answers.probability, followed.answers.correct)
    ahead.update(followed.open_loop.ahead[:, 0], followed.open_loop.correct[:, 1])
    assert whole.compute() == ahead.compute()


def test_learners_followed_at_once_change_nothing(truth: TrueLearners, log: Interactions) -> None:
    few, many = (
        LogFigures((1, 5), 3, 20, rows).compute(truth, truth.begin, log.select(torch.arange(30))) for rows in (7, 100)
    )
    assert few == pytest.approx(many, abs=1e-6)
