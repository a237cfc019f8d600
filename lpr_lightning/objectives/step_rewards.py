"""What each step of an episode is worth: rewards of agents that learn step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from lpr_lightning.errors import SettingError, checked_positive
from lpr_lightning.types import Rollout


class StepReward(ABC):
    """Base class: a reward for each step of kept episodes, 0 behind their ends."""

    @abstractmethod
    def steps(self, taught: Rollout) -> Tensor:
        """Return the rewards [B, L] of a rollout with `keep=True`."""


@dataclass(frozen=True)
class AttainableGain(StepReward):
    """What a step brought in exam score, as a share of what was attainable at the start.

    Where the goal stays the same, its sum over an episode is the learning effect E_p = (E_e - E_s) / (E_sup - E_s).
    Where nothing was attainable it is 0.

    Args:
        least: of what was attainable; less counts as this, so that learners who know nearly all don't drown the rest.

    Raises:
        SettingError: `least` is not above 0.
    """

    least: float = 0.1

    def __post_init__(self) -> None:
        checked_positive("least", self.least)

    def steps(self, taught: Rollout) -> Tensor:
        """Return the rewards [B, L]."""
        attainable = (taught.score_max - taught.score_before).clamp_min(self.least)
        return passed(taught) / attainable[:, None] * taught.mask


@dataclass(frozen=True)
class MeanGain(StepReward):
    """What a step brought in mean mastery of the goal's concepts (ExRec, eq. 19, times `scale`; its code takes 1000).

    Args:
        scale: factor, above 0.

    Raises:
        SettingError: it is not.
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        checked_positive("scale", self.scale)

    def steps(self, taught: Rollout) -> Tensor:
        """Return the rewards [B, L]."""
        return self.scale * taught.gain * taught.mask


def passed(taught: Rollout) -> Tensor:
    """Return what each step brought in exam score, [B, L].

    Raises:
        SettingError: the rollout was not kept.
    """
    if taught.passed is None:
        raise SettingError("rollout", "without `passed`", "rollout(..., keep=True)")
    return taught.passed
