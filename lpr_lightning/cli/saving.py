"""The callbacks and loggers that every run gets unless its configuration says otherwise."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint, ProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lpr_lightning.callbacks.metrics_json import MetricsJson
from lpr_lightning.callbacks.progress import StageProgressBar
from lpr_lightning.cli.runs import BEST, CHECKPOINTS, INTERRUPTED, LAST


class InterruptCheckpoint(Callback):
    """Leaves a checkpoint when training is interrupted (Ctrl-C, SIGTERM), removed once training has ended well.

    Rank zero writes it without waiting for the others, which may not have heard of the interruption; strategies that
    shard the model, and so need every process, get none. (Lightning's OnExceptionCheckpoint waits for all ranks, is
    deleted by the next test, and makes every later fit resume unasked.)
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{INTERRUPTED}.ckpt"

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save, where there is training to go on with."""
        training = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and trainer.optimizers
        sharded = not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
        if training and not sharded and isinstance(exception, KeyboardInterrupt | SIGTERMException):
            checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            trainer.strategy.save_checkpoint(checkpoint, self.path)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the file of an earlier interruption."""
        if trainer.is_global_zero:
            self.path.unlink(missing_ok=True)


def checkpoints(given: list[Callback], model: LightningModule, run: Path, trainer: dict[str, Any]) -> list[Callback]:
    """Return the checkpoint callbacks that are missing among the `given` ones.

    The best checkpoint is chosen by the model's class attribute `monitor`, a pair such as
    `("val/learning_effect", "max")`; a model without it keeps the last one only.
    """
    if trainer.get("enable_checkpointing") is False or trainer.get("fast_dev_run"):
        return []
    added: list[Callback] = []
    if not any(isinstance(one, ModelCheckpoint) for one in given):
        folder = run / CHECKPOINTS
        if chosen := getattr(model, "monitor", None):
            best = {"filename": BEST, "monitor": chosen[0], "mode": chosen[1]}
            added.append(ModelCheckpoint(folder, enable_version_counter=False, **best))
        # a callback of its own: save_last=True would leave the last one as old as the best one
        added.append(ModelCheckpoint(folder, filename=LAST, enable_version_counter=False))
    if not any(isinstance(one, OnExceptionCheckpoint) for one in given):
        added.append(InterruptCheckpoint(run / CHECKPOINTS))
    return added


def displays(given: list[Callback], trainer: dict[str, Any]) -> list[Callback]:
    """Return the progress bar and metrics.json where they are missing among the `given` callbacks."""
    added: list[Callback] = []
    if trainer.get("enable_progress_bar") is not False and not any(isinstance(one, ProgressBar) for one in given):
        added.append(StageProgressBar())
    if not trainer.get("fast_dev_run") and not any(isinstance(one, MetricsJson) for one in given):
        added.append(MetricsJson())
    return added


def loggers(run: Path) -> list[Logger]:
    """Return a TensorBoard and a CSV logger that both write into `run`; an earlier metrics.csv is carried on."""
    home, name = str(run.parent.parent), run.parent.name
    metrics = run / "metrics.csv"
    text = metrics.read_text(encoding="utf-8") if metrics.is_file() else ""
    csv = CSVLogger(home, name=name, version=run.name)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Previous log files in this directory will be deleted.*")
        writer = csv.experiment
    if text and hasattr(writer, "metrics_keys"):
        metrics.write_text(text, encoding="utf-8")
        writer.metrics_keys = text.partition("\n")[0].strip().split(",")
    return [TensorBoardLogger(home, name=name, version=run.name, default_hp_metric=False), csv]
