from __future__ import annotations

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.advantage import epsilon_indicator, group_zscore
from lpr_lightning.hparams import built, plain
from lpr_lightning.objectives import Advantage, EpsilonIndicator, ScalarSum

REWARD = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))


def test_epsilon_indicator_is_the_function() -> None:
    advantage = EpsilonIndicator(kappa=0.5, transform="exp", normalize="none", eps=0.01)
    assert torch.equal(advantage(REWARD), epsilon_indicator(REWARD, 0.5, "exp", "none", 0.01))
    assert torch.equal(EpsilonIndicator()(REWARD), epsilon_indicator(REWARD, 1.0, "log", "none"))


def test_scales_are_exchange_rates_between_objectives() -> None:
    scaled = EpsilonIndicator(scale=(1.0, 0.1))(REWARD)
    assert torch.equal(scaled, EpsilonIndicator()(REWARD * torch.tensor([1.0, 0.1])))
    only_first = EpsilonIndicator(scale=(1.0, 0.0))(REWARD)
    assert torch.equal(only_first.argmax(1), REWARD[..., 0].argmax(1))
    with pytest.raises(SettingError, match="scale"):
        EpsilonIndicator(scale=(1.0, 2.0, 3.0))(REWARD)
    with pytest.raises(SettingError, match="scale"):
        EpsilonIndicator(scale=(1.0, -1.0))


def test_scalar_sum_standardises_the_weighted_sum() -> None:
    expected = group_zscore(REWARD[..., 0] - 2 * REWARD[..., 1])
    torch.testing.assert_close(ScalarSum((1.0, -2.0))(REWARD), expected)


@pytest.mark.parametrize("advantage", [EpsilonIndicator(kappa=0.3), ScalarSum((1.0, 2.0), eps=0.1)])
def test_is_rebuilt_from_its_arguments(advantage: Advantage) -> None:
    assert built(plain(advantage)) == advantage
    assert hash(built(plain(advantage))) == hash(advantage)


@pytest.mark.parametrize("setting", [{"kappa": 0.0}, {"transform": "x"}, {"normalize": "x"}, {"eps": -1.0}])
def test_wrong_settings_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))):
        EpsilonIndicator(**setting)  # type: ignore[arg-type]


def test_weights_must_fit_the_objectives() -> None:
    with pytest.raises(SettingError, match="weights"):
        ScalarSum(())
    with pytest.raises(SettingError, match="2 numbers"):
        ScalarSum((1.0, 1.0, 1.0))(REWARD)
