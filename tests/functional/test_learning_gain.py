"""Growth by practice and its gate, against NumPy and by hand."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lpr_lightning.functional.learning_gain import learning_gain, prerequisite_gate


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def test_the_weakest_prerequisite_decides() -> None:
    generator = np.random.default_rng(0)
    level, needed = generator.normal(size=(40, 3)), generator.integers(-1, 5, size=(40, 3))
    found = prerequisite_gate(torch.tensor(level), torch.tensor(needed), torch.tensor([0.7, -0.3]))
    for row in range(40):
        held = [1.0]
        for place in range(3):
            if needed[row, place] >= 0:
                held.append(float(sigmoid(np.log1p(np.exp(0.7)) * (level[row, place] - 0.3))))
        assert abs(float(found[row]) - min(held)) < 1e-6


def test_a_half_open_gate_by_hand() -> None:
    gate = prerequisite_gate(torch.tensor([0.25, 9.0]), torch.tensor([2, 0]), torch.tensor([5.0, -0.25]))
    assert gate.item() == 0.5


def test_the_gain_falls_away_from_its_level_and_with_repetition() -> None:
    generator = np.random.default_rng(1)
    rate, level = generator.uniform(0, 2, 50), generator.normal(scale=4, size=50)
    count, shape, fading = generator.integers(0, 9, 50).astype(float), np.array([0.3, -0.2, 0.4]), 0.6
    near = np.clip(level, -4, 4)
    expected = rate * 2 * sigmoid(0.3 - 0.2 * near - 0.4 * near**2) * (1 + count) ** -fading
    tensors = (torch.tensor(value) for value in (rate, level, count, shape, fading))
    found = learning_gain(*tensors)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_a_gain_by_hand() -> None:
    one = torch.ones(1)
    shape = torch.tensor([0.0, 0.0, 1.0])  # 2 sigmoid(0) = 1 at level 0; (1 + 3)^-1/2 = 1/2
    assert learning_gain(3 * one, 0 * one, 3 * one, shape, torch.tensor(0.5)).item() == 1.5
