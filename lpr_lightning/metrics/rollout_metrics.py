"""What paths achieved, over all learners of a split."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.bootstrap import bootstrap_mean_interval
from lpr_lightning.functional.diversity import path_diversity
from lpr_lightning.functional.learning_effect import learning_effect, learning_effect_defined
from lpr_lightning.functional.length import length_score
from lpr_lightning.metrics.row_metric import RowMetric
from lpr_lightning.types import PAD, Rollout


class RolloutMetrics(RowMetric):
    """Learning effect, fit of the length and diversity of paths, and whether everybody gets the same.

    `compute` returns scalars: `learning_effect` (mean of E_p, IB-GRPO eq. 1, unclamped, as the paper reports it),
    `learning_effect_median`, `learning_effect_clipped` (mean of E_p clamped to [-1, 1]), `learning_effect_ratio`
    (points gained over points missing, summed over learners), `learning_effect_low` and `learning_effect_high` (95 %
    bootstrap interval of the mean), `length_score` (eq. 13), `path_diversity` (eq. 14), `path_length`, `on_target`, the
    share of all steps that are on a target, `first_step_share`, the share of paths with the commonest first step, and
    `sessions`, the number of rows where there was something to learn. The other rows are left out of all
    `learning_effect` figures, but not of the rest. What has no rows is 0.

    Whatever the exam, `learning_effect_soft` and `learning_effect_hard` are the same mean under both marks: a target
    counts by its mastery, or where that reaches `threshold`. Rollouts without mastery are left out of them.

    The bootstrap takes the same rows for every policy judged on the same learners in the same order with the same seed.

    Args:
        bootstrap: number of resamples, 0 for none (low and high then equal the mean).
        seed: of the bootstrap's own generator.
        threshold: of the hard marks.

    Raises:
        SettingError: a negative number of resamples.
    """

    def __init__(self, bootstrap: int = 1000, seed: int = 0, threshold: float = 0.5) -> None:
        super().__init__(columns=12)
        if bootstrap < 0:
            raise SettingError("bootstrap", bootstrap, "a number of resamples from 0 on")
        self.bootstrap, self.seed, self.threshold = bootstrap, seed, threshold

    def update(self, rollout: Rollout) -> None:
        """Add the rows of a rollout; a path that stopped with every target mastered may be shorter than was wanted."""
        fit = length_score(rollout.length, rollout.wanted_length, rollout.stopped)
        diversity = path_diversity(rollout.action)
        on_target = (steps_on_targets(rollout) & rollout.mask).sum(1)
        first = rollout.action[:, 0] if rollout.action.shape[1] else torch.full_like(rollout.length, PAD)
        scores = (rollout.score_before, rollout.score_after, rollout.score_max)
        self.store(*scores, fit, diversity, rollout.length, on_target, first, *self._marked(rollout))

    def compute(self) -> dict[str, Tensor]:
        """Return all figures as scalars."""
        before, after, maximum, fit, diversity, length, on_target, first, *marked = self.rows().unbind(1)
        soft, hard = (_effect(marked[place], marked[place + 1], maximum) for place in (0, 2))
        defined = learning_effect_defined(before, maximum)
        before, after, maximum = before[defined], after[defined], maximum[defined]
        effect = learning_effect(before, after, maximum)
        mean = _mean(effect)
        low, high = mean, mean
        if self.bootstrap:
            low, high = bootstrap_mean_interval(effect, self.bootstrap, self.seed)
        return {
            "learning_effect": mean,
            "learning_effect_median": effect.quantile(0.5) if len(effect) else mean,
            "learning_effect_clipped": _mean(effect.clamp(-1, 1)),
            "learning_effect_ratio": (after - before).sum() / (maximum - before).sum() if len(effect) else mean,
            "learning_effect_low": low,
            "learning_effect_high": high,
            "learning_effect_soft": soft,
            "learning_effect_hard": hard,
            "length_score": _mean(fit),
            "path_diversity": _mean(diversity),
            "path_length": _mean(length),
            "on_target": on_target.sum() / length.sum().clamp_min(1),
            "first_step_share": _commonest(first[first >= 0]),
            "sessions": defined.sum().float(),
        }

    def _marked(self, rollout: Rollout) -> list[Tensor]:
        """Return soft marks before and after, then hard ones, [B] each; NaN where mastery was not reported."""
        if not rollout.mastery_before.shape[1]:
            return [torch.full_like(rollout.score_before, torch.nan)] * 4
        masteries = rollout.mastery_before, rollout.mastery_after
        soft = [(mastery * rollout.targets).sum(1) for mastery in masteries]
        return soft + [((mastery >= self.threshold) & rollout.targets).sum(1) for mastery in masteries]


def steps_on_targets(rollout: Rollout) -> Tensor:
    """Return True where a step is on a target, [B, L] bool."""
    concept = rollout.concept
    there = torch.cat([torch.zeros_like(rollout.targets[:, :1]), rollout.targets], 1)
    return there.gather(1, (concept + 1).flatten(1)).view_as(concept).any(2)


def _effect(before: Tensor, after: Tensor, maximum: Tensor) -> Tensor:
    """Return the mean learning effect of the rows that have marks and something to learn."""
    learnable = learning_effect_defined(before, maximum)
    return _mean(learning_effect(before, after, maximum)[learnable])


def _commonest(value: Tensor) -> Tensor:
    """Return the share of the commonest of whole numbers [R]."""
    count = torch.bincount(value.long()) if len(value) else value.new_zeros(1)
    return count.max() / max(len(value), 1)


def _mean(value: Tensor) -> Tensor:
    return value.sum() / max(len(value), 1)
