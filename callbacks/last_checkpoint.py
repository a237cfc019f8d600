"""The newest state of a run, saved at the end of each epoch and in between."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lpr_lightning.bases.staged import fast_dev_run
from lpr_lightning.callbacks.exact_resume import between_batches, can_go_back
from lpr_lightning.callbacks.pictures import run_folder
from lpr_lightning.errors import checked, checked_positive

_LOOKS = 50
"""With several processes, batches from one look at the clock to the next, which all processes share."""


class LastCheckpoint(Checkpoint):
    """Saves `last.ckpt` when an epoch has ended, and within it after so many batches or minutes.

    One line for any Trainer: `Trainer(callbacks=[LastCheckpoint(every_n_minutes=5)])`. It saves between two batches,
    when everything is logged that was measured before, and loggers have written it: a run that goes on from it logs no
    step twice and misses none. (`ModelCheckpoint` saves before the figures of the batch or the epoch are logged, and
    by minutes not at all in manual optimisation.) Have `SafeCheckpointIO` and `ExactResume` beside it.

    Args:
        folder: where to save; by default the folder `checkpoints` in that of the run.
        every_n_batches: save within epochs after every so many batches of the run; None does not.
        every_n_minutes: save within epochs when so many minutes have passed since the last save; None does not.
        name: of the file, without `.ckpt`.

    Raises:
        SettingError: a number is not above 0.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        every_n_batches: int | None = None,
        every_n_minutes: float | None = None,
        name: str = "last",
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.every_n_batches = None if every_n_batches is None else checked("every_n_batches", every_n_batches, 1)
        self.every_n_minutes = every_n_minutes
        if every_n_minutes is not None:
            checked_positive("every_n_minutes", every_n_minutes)
        self.name = name
        self.path: Path | None = None
        """The file, once there is one."""
        self._ended = False
        self._time = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._ended, self._time = False, time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember to save before the next epoch, once its figures are logged."""
        self._ended = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after an epoch."""
        if self._ended:
            self._save(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Save within an epoch."""
        if batch_idx and can_go_back(trainer) and self._is_due(trainer, trainer.fit_loop.total_batch_idx, batch_idx):
            self._save(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save within an epoch, where the loader cannot go back by the batch that it gives next."""
        done = trainer.fit_loop.total_batch_idx + 1
        if not can_go_back(trainer) and self._is_due(trainer, done, batch_idx + 1):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save at the end."""
        self._save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Make it one of the moment between batches."""
        between_batches(trainer, checkpoint)

    def _is_due(self, trainer: Trainer, done: int, within: int) -> bool:
        if within % trainer.accumulate_grad_batches:
            return False
        if self.every_n_batches is not None and done % self.every_n_batches == 0:
            return True
        if self.every_n_minutes is None or (trainer.world_size > 1 and done % _LOOKS):
            return False
        passed = time.monotonic() - self._time >= 60 * self.every_n_minutes
        return bool(trainer.strategy.broadcast(passed)) if trainer.world_size > 1 else passed

    def _save(self, trainer: Trainer) -> None:
        self._ended, self._time = False, time.monotonic()
        if fast_dev_run(trainer):
            return
        for logger in trainer.loggers:
            logger.save()
        self.path = (self.folder or run_folder(trainer) / "checkpoints") / f"{self.name}.ckpt"
        trainer.save_checkpoint(self.path, weights_only=False)
