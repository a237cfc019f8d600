"""The pooled AUC is exact, and its interval is that of resampled learners."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpr_lightning.functional.grouped_auc import grouped_auc


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
