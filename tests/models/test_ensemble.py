"""Ensemble: the mean of its members, or less."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lpr_lightning.checks import check_tracer
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import built, plain
from lpr_lightning.models.dkt import DKT
from lpr_lightning.models.ensemble import Ensemble
from lpr_lightning.models.performance_factors import PerformanceFactors
from lpr_lightning.models.state_space import StateSpaceGrowth
from lpr_lightning.protocols import Tracer
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.types import Exercise, Interactions


def ensemble(caution: float = 0.0) -> Ensemble:
    torch.manual_seed(0)
    members = [PerformanceFactors(4), StateSpaceGrowth(4, factors=2), DKT(4, embedding_size=5, hidden_size=6)]
    for weight in (weight for member in members for weight in member.parameters()):
        nn.init.normal_(weight, std=0.5)
    return Ensemble(members, caution).eval()


BATCH = Interactions.from_lists([[(0, 1), (1, 0), (3, 1)], [(2, 1)], [(3, 0), (3, 1)]]).batch(torch.arange(3))


@pytest.mark.parametrize("caution", [0.0, 1.0])
def test_it_is_a_tracer(caution: float) -> None:
    check_tracer(ensemble(caution), BATCH)


@torch.no_grad()
def test_probabilities_are_the_mean_less_the_spread() -> None:
    plainly, careful = ensemble(), ensemble(0.5)
    asked = Exercise.of_concepts(torch.tensor([0, 1, 2]))
    state = plainly.practise(plainly.encode(BATCH), asked, torch.full((3,), 0.5))
    each = []
    for member in plainly.members:
        assert isinstance(member, Tracer)
        each.append(member.mastery(member.practise(member.encode(BATCH), asked, torch.full((3,), 0.5))).numpy())
    mean = sum(each) / 3
    spread = (sum((one - mean) ** 2 for one in each) / 3) ** 0.5
    torch.testing.assert_close(plainly.mastery(state).numpy(), mean)
    torch.testing.assert_close(careful.mastery(state).numpy(), (mean - 0.5 * spread).clip(0))


@torch.no_grad()
def test_two_members_by_hand() -> None:
    members = [PerformanceFactors(1), PerformanceFactors(1)]
    for member, rate in zip(members, (0.2, 0.6), strict=True):
        member.net.start_from(torch.tensor([rate]))
    state = Ensemble(members).initial_state(1)
    assert Ensemble(members).mastery(state).item() == pytest.approx(0.4)
    assert Ensemble(members, caution=1.0).mastery(state).item() == pytest.approx(0.2)
    assert Ensemble(members, caution=9.0).mastery(state).item() == 0.0


def test_it_can_be_rebuilt_as_a_simulator_of_a_checkpoint() -> None:
    simulator = KESSimulator(ensemble(), "soft")
    description = plain(simulator)
    assert isinstance(description, dict)
    again = built(description, KESSimulator)
    assert again is not None
    again.load_state_dict(simulator.state_dict())
    with torch.no_grad():
        expected = simulator.tracer.mastery(simulator.tracer.encode(BATCH))
        torch.testing.assert_close(again.tracer.mastery(again.tracer.encode(BATCH)), expected)


def test_members_must_agree_on_the_concepts() -> None:
    with pytest.raises(SettingError, match="same number of concepts"):
        Ensemble([PerformanceFactors(2), PerformanceFactors(3)])
    with pytest.raises(SettingError, match="at least one"):
        Ensemble([])
    with pytest.raises(SettingError, match="calls"):
        Ensemble([nn.Identity()])
    with pytest.raises(SettingError, match="caution"):
        Ensemble([PerformanceFactors(2)], caution=-1.0)
