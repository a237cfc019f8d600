from __future__ import annotations

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.advantage import epsilon_indicator, group_zscore
from lpr_lightning.hparams import built, plain
from lpr_lightning.objectives import Advantage, EpsilonIndicator, ScalarSum

REWARD = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
REWARDS = {"zpd": REWARD[..., 0], "length": REWARD[..., 1]}


def test_epsilon_indicator_is_the_function() -> None:
    advantage = EpsilonIndicator(kappa=0.5, transform="exp", normalize="none", eps=0.01)
    assert torch.equal(advantage(REWARDS), epsilon_indicator(REWARD, 0.5, "exp", "none", 0.01))
    assert torch.equal(EpsilonIndicator()(REWARDS), epsilon_indicator(REWARD, 1.0, "log", "none"))
    assert torch.equal(EpsilonIndicator(scale={})(REWARDS), EpsilonIndicator()(REWARDS))


def test_scales_are_exchange_rates_by_name() -> None:
    scaled = EpsilonIndicator(scale={"length": 0.1})(REWARDS)
    assert torch.equal(scaled, epsilon_indicator(REWARD * torch.tensor([1.0, 0.1]), 1.0, "log", "none"))
    turned = {"length": REWARDS["length"], "zpd": REWARDS["zpd"]}
    torch.testing.assert_close(EpsilonIndicator(scale={"length": 0.1})(turned), scaled)


def test_a_scale_of_zero_leaves_an_objective_out() -> None:
    advantage = EpsilonIndicator(scale={"length": 0.0})
    assert torch.equal(advantage(REWARDS), epsilon_indicator(REWARD[..., :1], 1.0, "log", "none"))
    with pytest.raises(SettingError, match="at least one"):
        EpsilonIndicator(scale={"length": 0.0}).check(["length"])


def test_scalar_sum_standardises_the_weighted_sum() -> None:
    expected = group_zscore(REWARD[..., 0] - 2 * REWARD[..., 1])
    torch.testing.assert_close(ScalarSum({"length": -2.0, "zpd": 1.0})(REWARDS), expected)


@pytest.mark.parametrize(
    "advantage", [EpsilonIndicator(kappa=0.3, scale={"zpd": 0.5}), ScalarSum({"zpd": 1.0, "length": 2.0}, eps=0.1)]
)
def test_is_rebuilt_from_its_arguments(advantage: Advantage) -> None:
    again = built(plain(advantage), Advantage)
    assert again == advantage
    assert hash(again) == hash(advantage)


@pytest.mark.parametrize(
    "setting",
    [
        {"scale": {"zpd": -1.0}},
        {"scale": {"zpd": 0.1}, "normalize": "group_minmax"},
        {"kappa": 0.0},
        {"transform": "x"},
        {"normalize": "x"},
        {"eps": -1.0},
    ],
)
def test_wrong_settings_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))):
        EpsilonIndicator(**setting)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "advantage",
    [EpsilonIndicator(scale={"zdp": 0.1}), ScalarSum({"zpd": 1.0, "length": 1.0, "zdp": 0.1})],
)
def test_names_of_no_objective_are_refused_with_the_closest(advantage: Advantage) -> None:
    with pytest.raises(SettingError, match=r"'zdp' cannot be used: expected one of zpd, length. Closest: zpd\."):
        advantage.check(["zpd", "length"])
    with pytest.raises(SettingError, match="zdp"):
        advantage(REWARDS)


def test_every_objective_needs_a_weight() -> None:
    with pytest.raises(SettingError, match="weights"):
        ScalarSum({})
    with pytest.raises(SettingError, match="add length, soft_gain; a weight of 0"):
        ScalarSum({"zpd": 1.0}).check(["zpd", "length", "soft_gain"])
    with pytest.raises(SettingError, match="add length"):
        ScalarSum({"zpd": 1.0})(REWARDS)
    ScalarSum({"zpd": 1.0, "length": 0.0}).check(REWARDS)
