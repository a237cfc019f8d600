from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.advantage import (
    Normalize,
    Transform,
    additive_epsilon,
    epsilon_indicator,
    group_zscore,
)

CHOICES: list[tuple[Transform, Normalize]] = [
    ("exp", "none"),
    ("exp", "group_minmax"),
    ("log", "none"),
    ("log", "group_minmax"),
]


def slow_advantage(
    rewards: list[list[float]], kappa: float, transform: Transform, normalize: Normalize, eps: float
) -> list[float]:
    """Equations 9 to 11 with loops, in double precision."""
    size = len(rewards)
    columns = [list(column) for column in zip(*rewards, strict=True)]
    if normalize == "group_minmax":
        varied = [column for column in columns if max(column) > min(column)]
        columns = [[(v - min(column)) / (max(column) - min(column)) for v in column] for column in varied]
    if size < 2 or not columns:
        return [0.0] * size
    fitness = []
    for i in range(size):
        total = 0.0
        for j in range(size):
            if j != i:
                total += math.exp(-max(column[i] - column[j] for column in columns) / kappa)
        fitness.append(-total if transform == "exp" else -kappa * math.log(total))
    mean = sum(fitness) / size
    std = math.sqrt(sum((f - mean) ** 2 for f in fitness) / (size - 1))
    if max(fitness) == min(fitness):
        return [0.0] * size
    return [(f - mean) / (std + eps) for f in fitness]


def random_rewards(seed: int, groups: int = 5, size: int = 6, objectives: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(groups, size, objectives, generator=generator)


@pytest.mark.parametrize(("transform", "normalize"), CHOICES)
@pytest.mark.parametrize("kappa", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("objectives", [1, 2, 4])
def test_matches_loops(transform: Transform, normalize: Normalize, kappa: float, objectives: int) -> None:
    reward = random_rewards(objectives, objectives=objectives)
    expected = [slow_advantage(group, kappa, transform, normalize, 1e-4) for group in reward.double().tolist()]
    got = epsilon_indicator(reward, kappa, transform, normalize)
    torch.testing.assert_close(got, torch.tensor(expected), rtol=2e-4, atol=2e-4)


def test_indicator_matches_numpy() -> None:
    reward = random_rewards(3)[0]
    values = reward.numpy()
    expected = np.array([[max(values[i] - values[j]) for i in range(6)] for j in range(6)])
    np.testing.assert_allclose(additive_epsilon(reward).numpy(), expected, rtol=1e-6)


def test_hand_computed_group() -> None:
    """Paths (1, 0), (0, 1) and (0, 0), kappa 1: I is 1 or 0 between them."""
    reward = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    fitness = np.array([-2 * math.exp(-1), -2 * math.exp(-1), -2.0])
    expected = (fitness - fitness.mean()) / fitness.std(ddof=1)
    got = epsilon_indicator(reward, 1.0, "exp", "none", eps=0.0)
    np.testing.assert_allclose(got.numpy(), expected)


def test_one_tied_objective_makes_every_indicator_weak() -> None:
    reward = random_rewards(4, size=8)
    reward[..., 2] = 1.0
    indicator = additive_epsilon(reward)
    assert (indicator >= 0).all()
    off = ~torch.eye(8, dtype=torch.bool)
    fitness = -((-indicator / 0.05).exp() * off).sum(-2)
    assert ((fitness <= 0) & (fitness >= -7)).all()


def test_one_bad_path_takes_all_resolution_from_exp_but_not_from_log() -> None:
    good = 0.9 - 0.02 * torch.arange(7.0)
    reward = torch.cat([good, torch.tensor([-1.0])]).view(1, 8, 1).expand(1, 8, 2)
    exp = epsilon_indicator(reward, 0.05, "exp", "none")[0]
    torch.testing.assert_close(exp[:7], torch.full((7,), 0.354), rtol=0, atol=1e-3)
    assert exp[7].item() == pytest.approx(-2.475, abs=1e-3)
    log = epsilon_indicator(reward, 0.05, "log", "none")[0]
    assert (log[:6] - log[1:7] > 0.01).all()


@pytest.mark.parametrize("kappa", [0.05, 0.1, 0.2, 0.5, 1.0])
def test_log_keeps_the_order_of_exp(kappa: float) -> None:
    reward = random_rewards(5).double()
    exp = epsilon_indicator(reward, kappa, "exp", "group_minmax")
    log = epsilon_indicator(reward, kappa, "log", "group_minmax")
    assert torch.equal(exp.argsort(-1), log.argsort(-1))
    assert (log[..., :, None] > log[..., None, :]).eq(exp[..., :, None] > exp[..., None, :]).all()


@pytest.mark.parametrize(("transform", "normalize"), CHOICES)
def test_huge_rewards_stay_finite(transform: Transform, normalize: Normalize) -> None:
    reward = random_rewards(6) * 1e4
    advantage = epsilon_indicator(reward, 0.05, transform, normalize)
    assert advantage.isfinite().all()
    dominated = torch.tensor([[1e4, 1e4], [0.0, 0.0], [-1e4, -1e4]])
    advantage = epsilon_indicator(dominated, 0.05, transform, normalize)
    assert advantage.isfinite().all()
    assert advantage[2] < advantage[0]


def test_shifted_exp_is_the_letter_where_double_precision_reaches() -> None:
    """Indicators of about -10 / 0.05 overflow float32 but not the loops in double precision."""
    reward = random_rewards(7, groups=1, objectives=1) * 4
    expected = slow_advantage(reward[0].double().tolist(), 0.05, "exp", "none", 1e-4)
    torch.testing.assert_close(
        epsilon_indicator(reward, 0.05, "exp", "none")[0], torch.tensor(expected), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(("transform", "normalize"), CHOICES)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_equal_paths_get_exactly_zero(transform: Transform, normalize: Normalize, value: float) -> None:
    reward = torch.full((3, 7, 4), value)
    assert torch.equal(epsilon_indicator(reward, 0.05, transform, normalize), torch.zeros(3, 7))


@pytest.mark.parametrize("transform", ["exp", "log"])
def test_constant_objective_contributes_nothing(transform: Transform) -> None:
    reward = random_rewards(8)
    constant = torch.cat([reward, torch.ones(5, 6, 1)], -1)
    noisy = torch.cat([reward, 1 + 1e-7 * random_rewards(9, objectives=1)], -1)
    expected = epsilon_indicator(reward, transform=transform)
    assert torch.equal(epsilon_indicator(constant, transform=transform), expected)
    assert torch.equal(epsilon_indicator(noisy, transform=transform), expected)


@pytest.mark.parametrize(("transform", "normalize"), CHOICES)
def test_groups_without_comparison_get_zero(transform: Transform, normalize: Normalize) -> None:
    assert torch.equal(epsilon_indicator(torch.rand(4, 1, 3), 0.1, transform, normalize), torch.zeros(4, 1))
    assert torch.equal(epsilon_indicator(torch.rand(4, 5, 0), 0.1, transform, normalize), torch.zeros(4, 5))
    assert epsilon_indicator(torch.rand(0, 5, 3), 0.1, transform, normalize).shape == (0, 5)


def test_dominated_path_never_beats_its_dominator() -> None:
    reward = random_rewards(10, groups=200, size=5, objectives=3)
    reward[:, 4] = reward[:, 0] - 0.1
    for transform, normalize in CHOICES:
        advantage = epsilon_indicator(reward, 0.1, transform, normalize)
        assert (advantage[:, 4] <= advantage[:, 0] + 1e-6).all()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=6),
    st.sampled_from(CHOICES),
    st.sampled_from([0.05, 1.0]),
)
def test_any_rewards_give_finite_centred_advantages(
    rewards: list[list[float]], choice: tuple[Transform, Normalize], kappa: float
) -> None:
    advantage = epsilon_indicator(torch.tensor(rewards), kappa, *choice)
    assert advantage.isfinite().all()
    assert abs(advantage.sum().item()) < 1e-3
    assert advantage.abs().max().item() <= len(rewards)


def test_half_precision_rewards_are_computed_in_single() -> None:
    reward = random_rewards(11).half()
    assert torch.equal(epsilon_indicator(reward), epsilon_indicator(reward.float()))


def test_zscore_matches_numpy() -> None:
    score = random_rewards(12)[..., 0].double()
    values = score.numpy()
    expected = (values - values.mean(1, keepdims=True)) / (values.std(1, ddof=1, keepdims=True) + 0.3)
    np.testing.assert_allclose(group_zscore(score, 0.3).numpy(), expected)
    assert torch.equal(group_zscore(torch.full((2, 7), 0.1)), torch.zeros(2, 7))
    assert torch.equal(group_zscore(torch.rand(3, 1)), torch.zeros(3, 1))
    pair = group_zscore(torch.tensor([[1.0, 3.0]]), eps=0.0)
    torch.testing.assert_close(pair, torch.tensor([[-(0.5**0.5), 0.5**0.5]]))


def test_wrong_settings_are_refused() -> None:
    reward = torch.rand(2, 3, 2)
    with pytest.raises(SettingError, match="kappa"):
        epsilon_indicator(reward, kappa=0.0)
    with pytest.raises(SettingError, match="transform"):
        epsilon_indicator(reward, transform="sqrt")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="normalize"):
        epsilon_indicator(reward, normalize="batch")  # type: ignore[arg-type]
