"""The common frame of callbacks that look at the roll-outs of validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from lpr_lightning.callbacks.settings import Stage, at_least, checked_stages
from lpr_lightning.errors import SettingError
from lpr_lightning.types import PathRequest, Rollout


class RolloutCallback(Callback):
    """Hands every roll-out of validation and test to four methods; override those that are needed.

    Steps return a dict with `"rollout"` (`types.Rollout`) and, for callbacks that plan again, `"request"`
    (`types.PathRequest`). Batches without a roll-out are passed over, sanity checks too. `begin`, `take` and `finish`
    run on every rank; `finish` and `show` only if some rank saw a roll-out, and `show` on rank zero alone, after
    the epoch's figures have reached `trainer.callback_metrics`.

    Args:
        stages: evaluation stages to look at.
        every_n_epochs: while fitting, look only at every n-th epoch.

    Raises:
        SettingError: an argument is out of its range.
    """

    def __init__(self, stages: Sequence[Stage] = ("val", "test"), every_n_epochs: int = 1) -> None:
        self.stages = checked_stages(stages)
        self.every_n_epochs = at_least("every_n_epochs", every_n_epochs, 1)
        self._seen = self._any_seen = False

    @property
    def state_key(self) -> str:
        """Name of this callback's state in a checkpoint."""
        return self._generate_state_key(stages=self.stages)

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        """Forget the last evaluation."""

    def take(
        self, trainer: Trainer, pl_module: LightningModule, stage: Stage, rollout: Rollout, request: PathRequest | None
    ) -> None:
        """Look at one batch."""

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        """Gather across ranks and log."""

    def show(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        """Draw or write."""

    def _due(self, trainer: Trainer, stage: Stage) -> bool:
        if trainer.sanity_checking or stage not in self.stages:
            return False
        return trainer.state.fn != TrainerFn.FITTING or trainer.current_epoch % self.every_n_epochs == 0

    def _begin(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        self._seen = self._any_seen = False
        if self._due(trainer, stage):
            self.begin(trainer, pl_module, stage)

    def _take(self, trainer: Trainer, pl_module: LightningModule, stage: Stage, outputs: Any) -> None:
        rollout = outputs.get("rollout") if isinstance(outputs, dict) else None
        if rollout is None or not self._due(trainer, stage):
            return
        if not isinstance(rollout, Rollout):
            raise SettingError('outputs["rollout"]', type(rollout).__name__, "a lpr_lightning.types.Rollout")
        self._seen = True
        self.take(trainer, pl_module, stage, rollout, outputs.get("request"))

    def _finish(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        if self._due(trainer, stage):
            self._any_seen = trainer.strategy.reduce_boolean_decision(self._seen, all=False)
            if self._any_seen:
                self.finish(trainer, pl_module, stage)

    def _show(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        if self._any_seen and self._due(trainer, stage) and trainer.is_global_zero:
            self.show(trainer, pl_module, stage)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a validation."""
        self._begin(trainer, pl_module, "val")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a test."""
        self._begin(trainer, pl_module, "test")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take a validation batch."""
        self._take(trainer, pl_module, "val", outputs)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take a test batch."""
        self._take(trainer, pl_module, "test", outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish a validation."""
        self._finish(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish a test."""
        self._finish(trainer, pl_module, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show a validation."""
        self._show(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show a test."""
        self._show(trainer, pl_module, "test")
