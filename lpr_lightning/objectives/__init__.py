"""Objectives score rollouts; advantages turn the scores of a group of paths into what the policy learns from."""

from __future__ import annotations

from lpr_lightning.objectives.advantages import Advantage, EpsilonIndicator, ScalarSum
from lpr_lightning.objectives.base import Objective
from lpr_lightning.objectives.collection import Objectives
from lpr_lightning.objectives.path_objectives import GroupDiversity, LearningEffect, LengthReward, SoftGain
from lpr_lightning.objectives.zpd_alignment import ZPDAlignment

__all__ = [
    "Advantage",
    "EpsilonIndicator",
    "GroupDiversity",
    "LearningEffect",
    "LengthReward",
    "Objective",
    "Objectives",
    "ScalarSum",
    "SoftGain",
    "ZPDAlignment",
]
