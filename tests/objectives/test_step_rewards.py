"""Rewards of steps add up to what episodes brought."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.objectives.step_rewards import AttainableGain, MeanGain
from lpr_lightning.policies import FixedPaths
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import PAD, Rollout


def taught(keep: bool = True) -> Rollout:
    """Return episodes on a ladder: to the top, off the ladder, and ended after one step."""
    paths = torch.tensor([[0, 1, 2], [2, 2, 0], [0, PAD, PAD]])
    request = Ladder(3).request([[2], [0, 2], [0, 1]], 3)
    return rollout(Ladder(3), Targets(SoftExam()), request, FixedPaths(paths), keep=keep)


def test_rewards_by_hand() -> None:
    assert AttainableGain().steps(taught()).tolist() == [[0, 0, 0.5], [0, 0, 0.25], [0.25, 0, 0]]
    assert MeanGain(2.0).steps(taught()).tolist() == [[0, 0, 1.0], [0, 0, 0.5], [0.5, 0, 0]]


def test_they_add_up_to_the_learning_effect() -> None:
    found = taught()
    effect = learning_effect(found.score_before, found.score_after, found.score_max)
    assert torch.allclose(AttainableGain().steps(found).sum(1), effect)


def test_little_that_is_attainable_counts_as_more() -> None:
    reward = AttainableGain(least=2.0).steps(taught())
    assert reward[0].tolist() == [0, 0, 0.25]


def test_what_cannot_be_rewarded_is_refused() -> None:
    with pytest.raises(SettingError, match="keep=True"):
        AttainableGain().steps(taught(keep=False))
    with pytest.raises(SettingError, match="least"):
        AttainableGain(least=0.0)
    with pytest.raises(SettingError, match="scale"):
        MeanGain(scale=-1.0)
