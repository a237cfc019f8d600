"""Model-based value expansion against a loop and a case computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpr_lightning.functional.value_expansion import expanded_value, expected_gain


def test_expected_gain_weighs_both_outcomes() -> None:
    found = expected_gain(torch.tensor([0.8, 0.5]), torch.tensor([[0.1, 0.6], [0.2, 0.2]]), torch.tensor([0.4, 0.2]))
    assert found.tolist() == pytest.approx([0.8 * 0.6 + 0.2 * 0.1 - 0.4, 0.0])


def test_expansion_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    rows, horizon, gamma = 9, 4, 0.7
    first, right, gains = rng.normal(size=rows), rng.uniform(size=rows), rng.normal(size=(rows, 2, horizon - 1))
    steps = rng.integers(1, 6, size=rows)
    expected = []
    for row in range(rows):
        value = first[row]
        for outcome, chance in ((0, 1 - right[row]), (1, right[row])):
            for later in range(1, horizon):
                if later < steps[row]:
                    value += chance * gamma**later * gains[row, outcome, later - 1]
        expected.append(value)
    chance = torch.from_numpy(np.stack([1 - right, right], 1))
    found = expanded_value(torch.from_numpy(first), chance, torch.from_numpy(gains), torch.from_numpy(steps), gamma)
    np.testing.assert_allclose(found, expected)


def test_one_step_is_the_papers_critic() -> None:
    first = torch.randn(3)
    none = torch.empty(3, 2, 0)
    assert torch.equal(expanded_value(first, torch.full((3, 2), 0.5), none, torch.ones(3).long(), 0.9), first)
