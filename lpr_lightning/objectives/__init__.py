"""Objectives score roll-outs; advantages turn the scores of a group of paths into what the policy learns from."""

from __future__ import annotations

from lpr_lightning.objectives.advantages import Advantage, EpsilonIndicator, ScalarSum
from lpr_lightning.objectives.base import Objective
from lpr_lightning.objectives.group_diversity import GroupDiversity
from lpr_lightning.objectives.learning_effect import LearningEffect, SoftGain
from lpr_lightning.objectives.length_reward import LengthReward
from lpr_lightning.objectives.zpd_alignment import ZPDAlignment

__all__ = [
    "Advantage",
    "EpsilonIndicator",
    "GroupDiversity",
    "LearningEffect",
    "LengthReward",
    "Objective",
    "ScalarSum",
    "SoftGain",
    "ZPDAlignment",
]
