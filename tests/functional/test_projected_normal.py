"""The density of directions of normal vectors, against integrals taken point by point."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lpr_lightning.functional.projected_normal import projected_normal_log_prob, projected_normal_sample


def slow_log_density(direction: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> float:
    """Integrate r^(D - 1) N(r u) over a fine grid of radii."""
    size = len(mean)
    radii = np.linspace(1e-6, 60.0, 400_001)
    away = ((radii[:, None] * direction - mean) / scale) ** 2
    logs = (size - 1) * np.log(radii) - 0.5 * away.sum(1) - np.log(scale).sum() - 0.5 * size * math.log(2 * math.pi)
    top = logs.max()
    return float(top + np.log(np.exp(logs - top).sum() * (radii[1] - radii[0])))


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("length", [0.0, 0.5, 6.0])
def test_it_is_the_integral_over_all_radii(size: int, length: float) -> None:
    rng = np.random.default_rng(size)
    for sign in (1.0, -1.0):  # towards the mean and away from it
        mean = length * rng.normal(size=size)
        scale = np.exp(0.5 * rng.normal(size=size))
        near = sign * mean + rng.normal(size=size)
        direction = near / np.linalg.norm(near)
        found = projected_normal_log_prob(*(torch.from_numpy(one) for one in (direction, mean, scale)))
        assert float(found) == pytest.approx(slow_log_density(direction, mean, scale), abs=1e-5)


def test_it_sums_to_one_over_the_circle_and_the_sphere() -> None:
    angle = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)[:-1]
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    density = projected_normal_log_prob(circle, torch.tensor([1.0, -0.4]).double(), torch.tensor([0.5, 1.5]).double())
    assert float(density.exp().mean()) * 2 * math.pi == pytest.approx(1.0, abs=1e-6)
    down, around = (
        torch.linspace(0, stop, 401, dtype=torch.float64)[:-1] + stop / 800 for stop in (math.pi, 2 * math.pi)
    )
    polar, turn = torch.meshgrid(down, around, indexing="ij")
    sphere = torch.stack([polar.sin() * turn.cos(), polar.sin() * turn.sin(), polar.cos()], -1)
    mean, scale = torch.tensor([0.3, 1.0, -0.7]).double(), torch.tensor([0.6, 1.0, 0.8]).double()
    density = projected_normal_log_prob(sphere, mean.expand_as(sphere), scale).exp() * polar.sin()
    assert float(density.sum()) * (math.pi / 400) * (2 * math.pi / 400) == pytest.approx(1.0, abs=1e-4)


def test_gradients_are_those_of_differences() -> None:
    torch.manual_seed(0)
    mean, raw, noise = (torch.randn(3, 5, dtype=torch.float64, requires_grad=True) for _ in range(3))

    def sampled(mean: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        scale = raw.exp()
        return projected_normal_log_prob(projected_normal_sample(mean, scale, noise.detach()), mean, scale)

    assert torch.autograd.gradcheck(sampled, (mean, raw))


def test_the_papers_size_stays_finite_and_agrees_in_single_precision() -> None:
    torch.manual_seed(0)
    mean = torch.nn.functional.normalize(torch.randn(4, 768), dim=1)
    scale = torch.full_like(mean, 0.2 / 768**0.5)
    direction = projected_normal_sample(mean, scale, torch.randn(4, 768))
    found = projected_normal_log_prob(direction, mean, scale)
    exact = projected_normal_log_prob(direction.double(), mean.double(), scale.double())
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-2)


def test_it_is_not_the_density_of_the_sample_before_projection() -> None:
    """The released code takes that one: it grows where the sample is long, which changes no action."""
    mean, scale = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])
    short, long = torch.tensor([0.0, 0.1]), torch.tensor([0.0, 0.7])
    before = [-0.5 * ((one - mean) / scale).square().sum() for one in (short, long)]  # and the same constant
    after = [projected_normal_log_prob(torch.nn.functional.normalize(one, dim=0), mean, scale) for one in (short, long)]
    assert float(before[0] - before[1]) == pytest.approx(0.96, abs=1e-4)
    assert float(after[0]) == pytest.approx(float(after[1]))
