"""What paths achieved, over all learners of a split."""

from __future__ import annotations

from torch import Tensor

from lpr_lightning.errors import checked
from lpr_lightning.functional.bootstrap import bootstrap_mean_interval
from lpr_lightning.functional.diversity import path_diversity
from lpr_lightning.functional.learning_effect import learning_effect, learning_effect_defined
from lpr_lightning.functional.length import length_score
from lpr_lightning.metrics.row_metric import RowMetric
from lpr_lightning.types import Rollout


class RolloutMetrics(RowMetric):
    """Learning effect, fit of the length and diversity of paths.

    `compute` returns scalars: `learning_effect` (mean of E_p, IB-GRPO eq. 1, unclamped, as the paper reports it),
    `learning_effect_median`, `learning_effect_clipped` (mean of E_p clamped to [-1, 1]), `learning_effect_ratio`
    (points gained over points missing, summed over learners), `learning_effect_low` and `learning_effect_high` (95 %
    bootstrap interval of the mean), `length_score` (eq. 13), `path_diversity` (eq. 14), `path_length`, and `sessions`,
    the number of rows where there was something to learn. The other rows are left out of all `learning_effect`
    figures, but not of the rest. What has no rows is 0.

    The bootstrap takes the same rows for every policy judged on the same learners in the same order with the same seed.

    Args:
        bootstrap: number of resamples, 0 for none (low and high then equal the mean).
        seed: of the bootstrap's own generator.

    Raises:
        SettingError: a negative number of resamples.
    """

    def __init__(self, bootstrap: int = 1000, seed: int = 0) -> None:
        super().__init__(columns=6)
        checked("bootstrap", bootstrap, 0)
        self.bootstrap, self.seed = bootstrap, seed

    def update(self, rollout: Rollout) -> None:
        """Add the rows of a rollout; a path that stopped with every target mastered may be shorter than was wanted."""
        fit = length_score(rollout.length, rollout.wanted_length, rollout.stopped)
        diversity = path_diversity(rollout.action)
        self.store(rollout.score_before, rollout.score_after, rollout.score_max, fit, diversity, rollout.length)

    def compute(self) -> dict[str, Tensor]:
        """Return all figures as scalars."""
        before, after, maximum, fit, diversity, length = self.rows().unbind(1)
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
            "length_score": _mean(fit),
            "path_diversity": _mean(diversity),
            "path_length": _mean(length),
            "sessions": defined.sum().float(),
        }


def _mean(value: Tensor) -> Tensor:
    return value.sum() / max(len(value), 1)
