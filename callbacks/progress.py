"""Progress bars that name the stage, and plain lines where there is no terminal."""

from __future__ import annotations

import math
import sys
import time
from typing import Protocol, runtime_checkable

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.types import STEP_OUTPUT

from lpr_lightning.bases.staged import figures_name
from lpr_lightning.callbacks.evaluation import BatchEnds, EndedBatch
from lpr_lightning.errors import checked


@runtime_checkable
class HasStageName(Protocol):
    """A module that says what it is doing."""

    @property
    def stage_name(self) -> str:
        """Name of the present stage of the training."""
        ...


class StageProgressBar(BatchEnds, RichProgressBar):
    """Rich progress bars whose description begins with the module's `stage_name`, for example "behaviour cloning".

    A module names its stage by an attribute or property `stage_name`; without one it is "training". Where the output
    is not a terminal (a log file, a continuous-integration job) there are no bars but plain lines, one every
    `seconds` and one after each validation, with epoch, batch and the figures logged with `prog_bar=True`.

    Args:
        refresh_rate: redraws a second; 0 shows nothing at all.
        seconds: time between plain lines.
        leave: leave finished bars on the screen.

    Raises:
        SettingError: a negative number.
    """

    def __init__(self, refresh_rate: int = 10, seconds: float = 10.0, leave: bool = False) -> None:
        super().__init__(refresh_rate=checked("refresh_rate", refresh_rate, 0), leave=leave)
        self.seconds = checked("seconds", seconds, 0.0)
        self._lines = False
        self._last_line = -math.inf
        self._stage_name = ""

    @property
    def is_enabled(self) -> bool:
        """Whether bars are drawn."""
        return super().is_enabled and not self._lines

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose between bars and lines."""
        from rich import get_console

        super().setup(trainer, pl_module, stage)
        self._lines, self._last_line = not get_console().is_terminal, -math.inf

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name the stage."""
        self._stage_name = stage_name(pl_module)
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Move on by one batch."""
        name = stage_name(pl_module)
        if name != self._stage_name:
            self._stage_name = name
            if self.progress is not None and self.train_progress_bar_id is not None:
                description = self._get_train_description(trainer.current_epoch)
                self.progress.update(self.train_progress_bar_id, description=description)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._line_if_due(trainer, pl_module, self._describe(trainer), batch_idx, self.total_train_batches)

    def batch_ended(self, trainer: Trainer, pl_module: LightningModule, ended: EndedBatch) -> None:
        """Write a line where one is due."""
        match ended.loop:
            case "val":
                name, totals = "validation", trainer.num_val_batches
            case "test":
                name, totals = self.test_description, trainer.num_test_batches
            case "predict":
                name, totals = "prediction", trainer.num_predict_batches
        if not trainer.sanity_checking:
            self._line_if_due(trainer, pl_module, name, ended.number, totals[ended.loader])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close a validation."""
        super().on_validation_end(trainer, pl_module)
        if not trainer.sanity_checking:
            self._line(trainer, pl_module, f"{self._describe(trainer)}, validated")

    def _get_train_description(self, current_epoch: int) -> str:
        name = self._stage_name or "training"
        last = self.trainer.max_epochs
        of = f"/{last}" if last is not None and last > 0 else ""
        return f"{name}, epoch {current_epoch + 1}{of}"

    @property
    def validation_description(self) -> str:
        """Description of the validation bar."""
        return "validation"

    @property
    def test_description(self) -> str:
        """Description of the test bar."""
        return figures_name(self.trainer, "test").replace("/", ", ")

    @property
    def predict_description(self) -> str:
        """Description of the prediction bar."""
        return "prediction"

    def _describe(self, trainer: Trainer) -> str:
        if trainer.state.fn != "fit":
            return str(trainer.state.fn)
        return self._get_train_description(trainer.current_epoch)

    def _line_if_due(
        self, trainer: Trainer, pl_module: LightningModule, description: str, batch_idx: int, total: float
    ) -> None:
        if time.monotonic() - self._last_line >= self.seconds:
            of = f"/{int(total)}" if math.isfinite(total) else ""
            self._line(trainer, pl_module, f"{description}, batch {batch_idx + 1}{of}")

    def _line(self, trainer: Trainer, pl_module: LightningModule, text: str) -> None:
        if not (self._lines and self._enabled and self.refresh_rate > 0):
            return
        self._last_line = time.monotonic()
        shown = {key: value for key, value in self.get_metrics(trainer, pl_module).items() if key != "v_num"}
        parts = [f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items()]
        sys.stdout.write(" | ".join([text, *parts]) + "\n")
        sys.stdout.flush()


def stage_name(pl_module: LightningModule) -> str:
    """Return what the module says it is doing."""
    return pl_module.stage_name if isinstance(pl_module, HasStageName) else "training"
