"""Correlation of answers against NumPy, a pair of concepts at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpr_lightning.functional.answer_correlation import answer_correlation
from lpr_lightning.types import Interactions


def test_it_is_the_correlation_of_mean_residuals_over_those_who_answered_on_both() -> None:
    generator = np.random.default_rng(0)
    rows = [
        [(int(c), int(generator.integers(2))) for c in generator.integers(5, size=generator.integers(1, 12))]
        for _ in range(60)
    ]
    rows[0] = [(0, 1), (1, 0), (4, 1)]  # the only answer on concept 4
    rows[1:] = [[(c % 4, y) for c, y in row] for row in rows[1:]]
    rate = [np.mean([y for row in rows for c, y in row if c == concept]) for concept in range(5)]
    value = np.full((60, 5), np.nan)
    for learner, row in enumerate(rows):
        overall = np.mean([y - rate[c] for c, y in row])
        for concept in {c for c, _ in row}:
            value[learner, concept] = np.mean([y - rate[c] for c, y in row if c == concept]) - overall
    found = answer_correlation(Interactions.from_lists(rows), 5)
    assert not found[4].any()
    for a in range(4):
        for b in range(4):
            both = ~np.isnan(value[:, a]) & ~np.isnan(value[:, b])
            expected = np.corrcoef(value[both, a], value[both, b])[0, 1]
            assert float(found[a, b]) == pytest.approx(expected, abs=1e-5)


def test_where_it_is_undefined_it_is_0() -> None:
    found = answer_correlation(Interactions.from_lists([[(0, 1)], [(1, 0)]]), 3)
    assert torch.equal(found, torch.zeros(3, 3))


def test_learners_of_one_answer_say_nothing_of_their_concept() -> None:
    """Their answers are as good as they are overall, by definition."""
    assert answer_correlation(Interactions.from_lists([[(0, 1)], [(0, 0)]]), 1).tolist() == [[0.0]]
