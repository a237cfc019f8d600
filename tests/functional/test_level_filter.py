"""The filter in factors and own levels, against the textbook's full covariance, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lpr_lightning.functional.level_filter import Belief, bounded_success, narrowing, sharpened

Array = NDArray[np.float64]
BOUNDS = (0.1, 0.05)


def full_step(
    mean: Array, covariance: Array, concept: int, base: float, correct: float, weight: float
) -> tuple[float, Array, Array]:
    """Return the scaled level before and the posterior of N levels after an answer; an answer counts `weight`."""
    variance, level = covariance[concept, concept], mean[concept] + base
    scale = 1 / np.sqrt(1 + np.pi * variance / 8)
    reached = 1 / (1 + np.exp(-level * scale))
    span = 1 - sum(BOUNDS)
    chance = BOUNDS[0] + span * reached
    slope = span * reached * (1 - reached) * scale
    spread = slope**2 * variance + chance * (1 - chance) / weight
    gain = covariance[:, concept] * slope / spread
    return level * scale, mean + gain * (correct - chance), covariance - spread * np.outer(gain, gain)


@pytest.mark.parametrize("doubt", [0.0, 0.2])
def test_it_is_the_filter_of_the_full_covariance(doubt: float) -> None:
    generator = np.random.default_rng(0)
    concepts, factors, steps = 5, 2, 60
    loading, own = generator.normal(size=(concepts, factors)), generator.uniform(0.2, 1, concepts)
    mean, covariance = np.zeros(concepts), loading @ loading.T + np.diag(own)
    alone = torch.tensor(np.stack([np.zeros(concepts), np.zeros(concepts), own]))
    factor_mean, factor_covariance = torch.zeros(1, factors).double(), torch.eye(factors)[None].double()
    table = torch.tensor(loading)
    for _ in range(steps):
        concept, base, correct = int(generator.integers(concepts)), float(generator.normal()), float(generator.random())
        weight = float(generator.uniform(0.2, 1))
        expected, mean, covariance = full_step(mean, covariance, concept, base, correct, weight)
        belief = Belief(factor_mean, factor_covariance, *alone[:, concept, None])
        parts = (torch.tensor(value, dtype=torch.float64) for value in ([base], [correct], [weight], BOUNDS))
        scaled, level, belief = sharpened(belief, table[concept, None], *parts)
        assert abs(scaled.item() - expected) < 1e-6
        assert abs(level.item() - mean[concept] - base) < 1e-6
        covariance[concept, concept] += doubt
        alone[:, concept] = torch.cat([belief.own, belief.shared, belief.variance + doubt])
        factor_mean, factor_covariance = belief.mean, belief.covariance
        rest = (1 - alone[1])[:, None] * table
        np.testing.assert_allclose(alone[0] + (rest @ factor_mean[0]), mean, atol=1e-6)
        whole = rest @ factor_covariance[0] @ rest.T + torch.diag(alone[2])
        np.testing.assert_allclose(whole, covariance, atol=1e-6)


def test_an_answer_that_does_not_count_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.rand(3, 2, 2, generator=generator)
    belief = Belief(torch.rand(3, 2, generator=generator), spread @ spread.mT, *torch.rand(3, 3, generator=generator))
    loading, zeros = torch.rand(3, 2, generator=generator), torch.zeros(3)
    after = sharpened(belief, loading, zeros, zeros + 1, zeros, torch.tensor(BOUNDS))[2]
    torch.testing.assert_close(tuple(after), tuple(belief))


def test_success_lies_between_guessing_and_slipping() -> None:
    chance, failure = bounded_success(torch.tensor([-50.0, 0.0, 50.0]), torch.tensor(BOUNDS))
    torch.testing.assert_close(chance, torch.tensor([0.1, 0.525, 0.95]))
    torch.testing.assert_close(chance + failure, torch.ones(3))
    assert narrowing(torch.tensor(24 / torch.pi)).item() == pytest.approx(0.5)
