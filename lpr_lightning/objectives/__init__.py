"""Objectives score rollouts; advantages turn the scores of a group of paths into what the policy learns from."""

from __future__ import annotations

from lpr_lightning.objectives.advantages import Advantage, EpsilonIndicator, ScalarSum
from lpr_lightning.objectives.base import Objective
from lpr_lightning.objectives.collection import Objectives
from lpr_lightning.objectives.path_objectives import GroupDiversity, LearningEffect, LengthReward, SoftGain
from lpr_lightning.objectives.policy_loss import PolicyLoss
from lpr_lightning.objectives.rival_advantages import GDPO, HVO, MOGRPO, DrGRPO
from lpr_lightning.objectives.zpd_alignment import ZPDAlignment

__all__ = [
    "GDPO",
    "HVO",
    "MOGRPO",
    "Advantage",
    "DrGRPO",
    "EpsilonIndicator",
    "GroupDiversity",
    "LearningEffect",
    "LengthReward",
    "Objective",
    "Objectives",
    "PolicyLoss",
    "ScalarSum",
    "SoftGain",
    "ZPDAlignment",
]
