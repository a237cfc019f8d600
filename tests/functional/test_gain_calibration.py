"""Predicted against observed changes, against loops and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lpr_lightning.functional.gain_calibration import (
    cells_by_kind,
    cells_by_number,
    gain_calibration,
    later_answers,
)
from lpr_lightning.types import PAD


def test_pairs_match_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, horizon = 12, 9
    concept = torch.randint(-1, 3, (rows, 1 + horizon, 2), generator=generator)
    correct = torch.randint(2, (rows, 1 + horizon), generator=generator).float()
    mask = torch.arange(horizon) < torch.randint(1, horizon + 1, (rows, 1), generator=generator)
    found = later_answers(concept, correct, mask)
    for row in range(rows):
        wanted = {one for one in concept[row, 0].tolist() if one != PAD}
        between, right, others = 0, 0.0, 0
        for step in range(horizon):
            on_it = bool(mask[row, step]) and bool(wanted & set(concept[row, 1 + step].tolist()))
            assert bool(found.pair[row, step]) == on_it
            if on_it:
                assert int(found.between[row, step]) == between
                assert float(found.right[row, step]) == right
                assert int(found.others[row, step]) == others
                between, right = between + 1, right + float(correct[row, 1 + step])
            else:
                others += 1
    assert bool(found.pair.any())


def test_padding_is_no_pair() -> None:
    concept, correct = torch.tensor([[[0], [PAD], [0]]]), torch.ones(1, 3)
    assert later_answers(concept, correct, torch.tensor([[False, False]])).pair.tolist() == [[False, False]]
    assert later_answers(torch.full((1, 3, 1), PAD), correct, torch.ones(1, 2).bool()).pair.tolist() == [[False, False]]


def test_cells_by_hand() -> None:
    between, right = torch.tensor([0, 1, 1, 3, 3, 3, 3, 9]), torch.tensor([0.0, 0, 1, 0, 1, 2, 3, 5])
    assert cells_by_number(between).tolist() == [0, 1, 1, 3, 3, 3, 3, 4]
    assert cells_by_kind(between, right).tolist() == [0, 1, 3, 1, 1, 3, 3, 2]


def reference(predicted: np.ndarray, observed: np.ndarray, cell: np.ndarray) -> tuple[float, float]:
    """Return slope and error by NumPy's least squares and a loop over cells."""
    slope = float(np.polyfit(predicted, observed, 1)[0])
    gaps = [
        abs(predicted[cell == one].mean() - observed[cell == one].mean()) * (cell == one).sum()
        for one in np.unique(cell)
    ]
    return slope, sum(gaps) / len(cell)


def test_matches_numpy_and_draws_learners_whole() -> None:
    generator = np.random.default_rng(1)
    rows, learners, resamples = 200, 15, 40
    predicted, cell = generator.normal(0.1, 0.1, rows), generator.integers(0, 4, rows)
    observed, learner = 0.5 * predicted + generator.normal(0, 0.3, rows), generator.integers(0, learners, rows)
    first, second, third = (torch.tensor(one) for one in (predicted, observed, cell))
    found = gain_calibration(first, second, third, 6, torch.tensor(learner) + 100, resamples, seed=3)
    slope, error = reference(predicted, observed, cell)
    assert found.slope.value == pytest.approx(slope)
    assert found.error.value == pytest.approx(error)
    assert found.count.tolist() == [*(int((cell == one).sum()) for one in range(4)), 0, 0]
    assert found.predicted[:4].tolist() == pytest.approx([predicted[cell == one].mean() for one in range(4)])
    assert found.observed.tolist()[4:] == [0, 0]

    drawn = torch.randint(learners, (resamples, learners), generator=torch.Generator().manual_seed(3)).numpy()
    again = []
    for sample in drawn:
        rows_of = np.concatenate([np.flatnonzero(learner == one) for one in sample])
        again.append(reference(predicted[rows_of], observed[rows_of], cell[rows_of]))
    for interval, figures in zip((found.slope, found.error), np.array(again).T, strict=True):
        assert [interval.low, interval.high] == pytest.approx(np.quantile(figures, [0.025, 0.975]).tolist())


def test_by_hand() -> None:
    """Predicted 0, .1, .2 and observed 0, .2, .4 in cells {1, 2} and {3}: slope 2; error (2 * .05 + 1 * .2) / 3."""
    predicted, observed = torch.tensor([0.0, 0.1, 0.2]), torch.tensor([0.0, 0.2, 0.4])
    found = gain_calibration(predicted, observed, torch.tensor([0, 0, 1]), 2, torch.arange(3), resamples=0)
    assert found.slope.value == pytest.approx(2.0)
    assert found.error.value == pytest.approx(0.1)
    assert found.slope.low == found.slope.high == found.slope.value


def test_a_model_that_predicts_no_change_has_an_error_and_no_slope() -> None:
    observed = torch.tensor([0.1, 0.3])
    found = gain_calibration(torch.zeros(2), observed, torch.zeros(2).long(), 1, torch.arange(2), 10)
    assert math.isnan(found.slope.value)
    assert found.error.value == pytest.approx(0.2)


def test_a_simulator_that_promises_twice_the_gain_has_half_the_slope() -> None:
    """Later answers are drawn with probability 0.4 + gain; one model predicts the gain, another one twice as much."""
    generator = torch.Generator().manual_seed(5)
    gain = 0.3 * torch.rand(40_000, generator=generator)
    observed = (torch.rand(40_000, generator=generator) < 0.4 + gain).float() - 0.4
    cell, learner = (gain * 10).long(), torch.arange(40_000) // 40
    right = gain_calibration(gain, observed, cell, 3, learner)
    wrong = gain_calibration(2 * gain, observed, cell, 3, learner)
    assert right.slope.low < 1 < right.slope.high < 1.2
    assert wrong.slope.high < 0.7
    assert right.error.value < 0.01 < 0.1 < wrong.error.low


def test_no_pairs() -> None:
    nothing = torch.zeros(0)
    found = gain_calibration(nothing, nothing, nothing.long(), 2, nothing.long())
    assert math.isnan(found.slope.value)
    assert found.error.value == 0
    assert found.count.tolist() == [0, 0]
