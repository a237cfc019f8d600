"""What the paths teach learners of known truth."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import LightningModule, Trainer

from lpr_lightning.callbacks.evaluation import RolloutCallback
from lpr_lightning.callbacks.replay import Truth, needed_request, truth_of
from lpr_lightning.callbacks.settings import Stage
from lpr_lightning.types import PathRequest, Rollout


class TrueEffect(RolloutCallback):
    """Lets learners of known truth follow the module's paths, and logs `test/true_learning_effect` with its interval.

    A policy is trained and judged on a simulator fitted to logs; where the logs come from learners of known truth
    (`trainer.datamodule.truth`), this says what they would have learnt in truth. Without such learners it does
    nothing. Steps must return `"request"` beside `"rollout"`.

    Args:
        stages: evaluation stages to look at.
        seed: of the true learners' answers.
        every_n_epochs: while fitting, look only at every n-th epoch.

    Raises:
        SettingError: an argument is out of its range.
    """

    def __init__(self, stages: Sequence[Stage] = ("test",), seed: int = 0, every_n_epochs: int = 1) -> None:
        super().__init__(stages, every_n_epochs)
        self.seed = seed
        self._truth: Truth | None = None

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        """Start from nothing, with a fresh copy of the true learners."""
        truth = truth_of(trainer)
        seed = self.seed + trainer.global_rank
        self._truth = None if truth is None else Truth(truth, seed, pl_module.device)

    def take(
        self, trainer: Trainer, pl_module: LightningModule, stage: Stage, rollout: Rollout, request: PathRequest | None
    ) -> None:
        """Let the true learners follow the batch's paths."""
        if self._truth is not None:
            request = needed_request(request, type(self).__name__)
            self._truth.update(request, rollout.path, rollout.group_size)

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        """Log the figures of all ranks."""
        if self._truth is not None:
            figures = self._truth.compute()
            pl_module.log_dict({f"{stage}/{key}": value for key, value in figures.items()}, sync_dist=True)
        self._truth = None
