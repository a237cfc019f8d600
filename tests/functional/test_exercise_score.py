"""Appendix D's scores against loops, and intervals that draw whole learners."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lpr_lightning.functional.bootstrap import bootstrap_mean_interval, grouped_ratio
from lpr_lightning.functional.exercise_score import share_of_attainable, target_gain


@pytest.mark.parametrize("repeats", [False, True])
def test_gains_against_a_loop(repeats: bool) -> None:
    rng = np.random.default_rng(0)
    before, after = rng.random((5, 7)), rng.random((5, 7))
    concept = rng.integers(-1, 7, (5, 6))
    concept[3] = -1
    gain, most = target_gain(torch.tensor(before), torch.tensor(after), torch.tensor(concept), repeats)
    for row in range(5):
        chosen = [one for one in concept[row].tolist() if one >= 0]
        chosen = chosen if repeats else sorted(set(chosen))
        expected = np.mean([after[row, one] - before[row, one] for one in chosen]) if chosen else 0.0
        attainable = np.mean([1 - before[row, one] for one in chosen]) if chosen else 0.0
        assert float(gain[row]) == pytest.approx(expected)
        assert float(most[row]) == pytest.approx(attainable)


def test_the_share_of_the_paper_is_a_ratio_of_means() -> None:
    """The paper's example: 0.15 of 0.22 is 68.2 %; the mean of the ratios would be another number."""
    assert float(share_of_attainable(torch.tensor([0.15]), torch.tensor([0.22]))) == pytest.approx(0.682, abs=5e-4)
    gain, most = torch.tensor([0.1, 0.0]), torch.tensor([0.1, 0.9])
    assert float(share_of_attainable(gain, most)) == pytest.approx(0.1)
    assert float(share_of_attainable(torch.zeros(2), torch.zeros(2))) == 0.0


def test_intervals_draw_learners_not_starts() -> None:
    """Twenty starts of one learner say no more than one: the interval is as wide as that over learners' means."""
    torch.manual_seed(0)
    of_learner = torch.randn(30)
    rows, group = of_learner.repeat_interleave(20), torch.arange(30).repeat_interleave(20)
    ratio, low, high = grouped_ratio(rows, torch.ones_like(rows), group, 2000)
    assert ratio == pytest.approx(float(of_learner.mean()), abs=1e-6)
    wanted = [float(one) for one in bootstrap_mean_interval(of_learner, 2000, 1)]
    assert [low, high] == pytest.approx(wanted, abs=0.05)
    narrow = [float(one) for one in bootstrap_mean_interval(rows, 2000, 0)]
    assert high - low > 3 * (narrow[1] - narrow[0])
    assert all(math.isnan(one) for one in grouped_ratio(rows[:0], rows[:0], group[:0]))
    assert grouped_ratio(rows, 0 * rows, group, 10) == (0.0, 0.0, 0.0)
    assert grouped_ratio(rows, 2 * torch.ones_like(rows), group, 0)[1] == pytest.approx(ratio / 2)
