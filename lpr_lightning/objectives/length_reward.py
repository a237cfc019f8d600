"""Whether a path is as long as the learner asked for."""

from __future__ import annotations

from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.length import length_reward
from lpr_lightning.hparams import arguments
from lpr_lightning.objectives.base import Objective
from lpr_lightning.types import Rollout


class LengthReward(Objective):
    """R_Len of IB-GRPO (arXiv 2601.14686), eq. 3.

    Args:
        tolerance: tau, the deviation in steps that goes unpunished; None takes 0 up to 5 wanted steps, 1 up to 10 and
            2 above. Ours, the paper states none.
        penalty: lambda, the loss per step outside the tolerance; None takes 1 / wanted length. Ours.

    Raises:
        SettingError: a negative tolerance or penalty.

    >>> LengthReward(tolerance=1).hparams
    "penalty":   None
    "tolerance": 1
    """

    name = "length"

    def __init__(self, tolerance: int | None = None, penalty: float | None = None) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        if tolerance is not None and tolerance < 0:
            raise SettingError("tolerance", tolerance, "a number of steps from 0 on, or null")
        if penalty is not None and not penalty >= 0:
            raise SettingError("penalty", penalty, "a number from 0 on, or null")
        self.tolerance, self.penalty = tolerance, penalty

    def forward(self, rollout: Rollout) -> Tensor:
        """Return R_Len, [B], at most 1."""
        return length_reward(rollout.length, rollout.wanted_length, self.tolerance, self.penalty)
