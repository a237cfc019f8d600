"""Objectives that read a path's scores, length and steps, and have nothing to fit."""

from __future__ import annotations

from torch import Tensor

from lpr_lightning.errors import checked, checked_or_none, checked_positive
from lpr_lightning.functional.diversity import ngram_jaccard_diversity
from lpr_lightning.functional.learning_effect import learning_effect, soft_gain
from lpr_lightning.functional.length import length_reward
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
        least_missing: smallest divisor, so that the value stays bounded for learners who master nearly everything.

    Raises:
        SettingError: `least_missing` is not above 0.

    >>> SoftGain().hparams
    "least_missing": 0.01
    """

    name = "soft_gain"

    def __init__(self, least_missing: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        checked_positive("least_missing", least_missing)
        self.least_missing = least_missing

    def forward(self, rollout: Rollout) -> Tensor:
        """Return the gain, [B], at most 1."""
        return soft_gain(rollout.mastery_before, rollout.mastery_after, rollout.targets, self.least_missing)


class LengthReward(Objective):
    """R_Len of IB-GRPO (arXiv 2601.14686), eq. 3.

    Differs from the paper: see `length_reward`; a path that stopped because every target was mastered may be shorter.

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
        checked_or_none("tolerance", tolerance, 0)
        checked_or_none("penalty", penalty, 0.0)
        self.tolerance, self.penalty = tolerance, penalty

    def forward(self, rollout: Rollout) -> Tensor:
        """Return R_Len, [B], at most 1."""
        return length_reward(rollout.length, rollout.wanted_length, self.tolerance, self.penalty, rollout.stopped)


class GroupDiversity(Objective):
    """D_Div of IB-GRPO (arXiv 2601.14686), eq. 4 and 5, among the paths of one request; 0 where it has but one path.

    Args:
        n: length of the n-grams of concepts or questions; the paper states none.

    Raises:
        SettingError: `n` is below 1.

    >>> GroupDiversity(n=3).hparams
    "n": 3
    """

    name = "diversity"

    def __init__(self, n: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        checked("n", n, 1)
        self.n = n

    def forward(self, rollout: Rollout) -> Tensor:
        """Return D_Div, [B] in [0, 1]."""
        return ngram_jaccard_diversity(rollout.action, rollout.group_size, self.n)
