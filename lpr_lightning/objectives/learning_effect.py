"""The share of the missing exam score that a path gains."""

from __future__ import annotations

from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect, soft_gain
from lpr_lightning.hparams import arguments
from lpr_lightning.objectives.base import Objective
from lpr_lightning.types import Rollout


class LearningEffect(Objective):
    """E_p of IB-GRPO (arXiv 2601.14686), eq. 1, unclamped; 0 where there was nothing to learn.

    >>> LearningEffect().name
    'learning_effect'
    """

    name = "learning_effect"

    def forward(self, rollout: Rollout) -> Tensor:
        """Return E_p, [B], at most 1."""
        return learning_effect(rollout.score_before, rollout.score_after, rollout.score_max)


class SoftGain(Objective):
    """The share of the missing mean mastery of the targets that a path gains.

    Ours, not the paper's: it is dense where eq. 1, counted in passed targets, is not.

    Args:
        min_room: smallest divisor, so that learners who know it all do not give boundless values.

    >>> SoftGain().hparams
    "min_room": 0.01
    """

    name = "soft_gain"

    def __init__(self, min_room: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        if not min_room > 0:
            raise SettingError("min_room", min_room, "a number above 0")
        self.min_room = min_room

    def forward(self, rollout: Rollout) -> Tensor:
        """Return the gain, [B], at most 1."""
        return soft_gain(rollout.mastery_before, rollout.mastery_after, rollout.targets, self.min_room)
