"""Intervals are those of resampled rows and of resampled learners; the pooled AUC is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpr_lightning.functional import bootstrap
from lpr_lightning.functional.bootstrap import bootstrap_mean_interval, grouped_auc


def test_is_near_the_normal_interval() -> None:
    value = torch.randn(2000, generator=torch.Generator().manual_seed(0)) + 3
    low, high = bootstrap_mean_interval(value, 2000, seed=1)
    half = 1.96 * value.std() / 2000**0.5
    assert low.item() == pytest.approx((value.mean() - half).item(), abs=0.01)
    assert high.item() == pytest.approx((value.mean() + half).item(), abs=0.01)


def test_same_seed_same_interval_and_shift_is_paired() -> None:
    value = torch.rand(50, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    first = torch.stack(bootstrap_mean_interval(value, 300, seed=5))
    assert torch.equal(first, torch.stack(bootstrap_mean_interval(value, 300, seed=5)))
    assert not torch.equal(first, torch.stack(bootstrap_mean_interval(value, 300, seed=6)))
    torch.testing.assert_close(torch.stack(bootstrap_mean_interval(value + 1, 300, seed=5)), first + 1)


def test_global_random_numbers_are_left_alone() -> None:
    state = torch.get_rng_state()
    bootstrap_mean_interval(torch.rand(5, generator=torch.Generator().manual_seed(0)), 10, seed=0)
    assert torch.equal(state, torch.get_rng_state())


def test_pieces_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    value = torch.rand(40, generator=torch.Generator().manual_seed(3))
    whole = bootstrap_mean_interval(value, 100, seed=0)
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 280)
    assert bootstrap_mean_interval(value, 100, seed=0) == whole


def test_no_rows_give_zero() -> None:
    low, high = bootstrap_mean_interval(torch.empty(0), 10, seed=0)
    assert (low.item(), high.item()) == (0.0, 0.0)


def by_pairs(probability: list[float], correct: list[int]) -> float:
    right = [p for p, y in zip(probability, correct) if y]
    wrong = [p for p, y in zip(probability, correct) if not y]
    return float(np.mean([(a > b) + 0.5 * (a == b) for a in right for b in wrong]))


def test_it_equals_a_count_of_pairs_with_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    probability = torch.randint(6, (40,), generator=generator) / 6
    correct, group = torch.randint(2, (2, 40), generator=generator)
    auc = grouped_auc(probability, correct, group, resamples=0)[0]
    assert auc == pytest.approx(by_pairs(probability.tolist(), correct.tolist()))
    assert grouped_auc(probability, 0.5 * correct, group, resamples=0)[0] == auc  # 0.5 and above is right


def test_the_interval_is_that_of_learners_drawn_with_all_their_answers() -> None:
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(30).repeat_interleave(4) + 100
    correct = torch.randint(2, (120,), generator=generator)
    probability = torch.rand(120, generator=generator) + 0.3 * correct
    _, low, high = grouped_auc(probability, correct, group, resamples=50, seed=3)
    draws, figures = torch.Generator().manual_seed(3), []
    for _ in range(50):
        rows = (torch.randint(30, (30,), generator=draws)[:, None] * 4 + torch.arange(4)).flatten()
        figures.append(by_pairs(probability[rows].tolist(), correct[rows].tolist()))
    assert (low, high) == pytest.approx(tuple(np.quantile(figures, [0.025, 0.975])))


def test_answers_all_alike_have_no_figure() -> None:
    auc, low, high = grouped_auc(torch.tensor([0.2, 0.3]), torch.tensor([1, 1]), torch.tensor([0, 1]), resamples=3)
    assert all(value != value for value in (auc, low, high))


def test_predictions_that_are_not_finite_have_no_auc() -> None:
    figures = grouped_auc(torch.tensor([0.2, torch.nan, 0.4]), torch.tensor([0, 1, 1]), torch.arange(3), resamples=3)
    assert np.isnan(figures).all()


def test_the_highest_prediction_may_be_of_a_wrong_answer() -> None:
    auc = grouped_auc(torch.tensor([0.9, 0.2, 0.5]), torch.tensor([0, 0, 1]), torch.zeros(3).long(), resamples=0)[0]
    assert auc == 0.5


def test_no_answers_have_no_auc() -> None:
    nothing = torch.empty(0)
    assert np.isnan(grouped_auc(nothing, nothing, nothing.long(), resamples=2)).all()
