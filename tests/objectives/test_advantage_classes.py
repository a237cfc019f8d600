from __future__ import annotations

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.rival_advantages import dr_grpo, gdpo, hvo, mo_grpo
from lpr_lightning.hparams import built, plain
from lpr_lightning.objectives import GDPO, HVO, MOGRPO, Advantage, DrGRPO

REWARD = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
REWARDS = {"zpd": REWARD[..., 0], "length": REWARD[..., 1]}
HALF = torch.tensor([1.0, 0.5])


def test_they_are_the_functions_by_the_objectives_names() -> None:
    assert torch.equal(MOGRPO()(REWARDS), mo_grpo(REWARD))
    assert torch.equal(HVO(0.3, 0.01)(REWARDS), hvo(REWARD, 0.3, 0.01))
    assert torch.equal(GDPO({"length": 0.5}, 0.01)(REWARDS), gdpo(REWARD, HALF, 0.01))
    assert torch.equal(DrGRPO({"length": 0.5})(REWARDS), dr_grpo(REWARD, HALF))
    assert torch.equal(DrGRPO()(REWARDS), dr_grpo(REWARD))


@pytest.mark.parametrize("advantage", [MOGRPO(), HVO(margin=0.2), GDPO({"zpd": 2.0}), DrGRPO({"zpd": 0.0})])
def test_is_rebuilt_from_its_arguments(advantage: Advantage) -> None:
    again = built(plain(advantage), Advantage)
    assert again == advantage
    assert hash(again) == hash(advantage)
    assert torch.equal(again(REWARDS), advantage(REWARDS))


@pytest.mark.parametrize("advantage", [GDPO({"zdp": 0.1}), DrGRPO({"zdp": 0.1})])
def test_names_of_no_objective_are_refused_with_the_closest(advantage: Advantage) -> None:
    with pytest.raises(SettingError, match=r"'zdp' cannot be used: expected one of zpd, length. Closest: zpd\."):
        advantage.check(["zpd", "length"])


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(SettingError, match="margin"):
        HVO(margin=0.0)
    with pytest.raises(SettingError, match="eps"):
        GDPO(eps=-1.0)
    with pytest.raises(SettingError, match="weights"):
        DrGRPO({"zpd": 0.0}).check(["zpd"])
