"""Run folders `logs/<name>/version_N`, and the callbacks and loggers that fill them unless a configuration differs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint, ProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lpr_lightning.callbacks import MetricsJson, NonFiniteGuard, SafeCheckpointIO, StageProgressBar, StepSeed
from lpr_lightning.errors import MissingFileError

CHECKPOINTS = "checkpoints"
LAST, BEST, INTERRUPTED = "last", "best", "interrupted"


@runtime_checkable
class Monitored(Protocol):
    """A model that says which figure chooses its best checkpoint, such as `("val/learning_effect", "max")`."""

    monitor: tuple[str, str]


def versions(folder: Path) -> list[Path]:
    """Return the run folders in `folder`, newest first."""
    found = [path for path in folder.glob("version_*") if path.name[8:].isdigit() and path.is_dir()]
    return sorted(found, key=lambda path: -int(path.name[8:]))


def claim(folder: Path, reserve: bool = True) -> Path:
    """Return the next run folder in `folder`, made unless `reserve` is off; two runs never get the same one.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> claim(folder).name, claim(folder).name, claim(folder, reserve=False).name
    ('version_0', 'version_1', 'version_2')
    """
    taken = versions(folder)
    number = int(taken[0].name[8:]) + 1 if taken else 0
    while True:
        path = folder / f"version_{number}"
        if not reserve:
            return path
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return path


def run_of(checkpoint: Path) -> Path | None:
    """Return the run folder that a checkpoint lies in, if it lies in one.

    >>> run_of(Path("logs/dkt/version_3/checkpoints/last.ckpt"))
    PosixPath('logs/dkt/version_3')
    """
    run = checkpoint.parent.parent
    return run if checkpoint.parent.name == CHECKPOINTS and run.name.startswith("version_") else None


def newest_checkpoint(folder: Path, kind: str) -> Path:
    """Return the `last` or `best` checkpoint of the newest run in `folder` that has one.

    `last` is the newest of the last and the interrupted checkpoint.
    """
    for run in versions(folder):
        found = _best(run / CHECKPOINTS) if kind == BEST else _last(run / CHECKPOINTS)
        if found is not None:
            return found
    raise MissingFileError(
        f"a {kind} checkpoint",
        folder,
        "run fit with the same first --config before, from the same folder, or give --ckpt_path a file",
    )


def _last(folder: Path) -> Path | None:
    found = [path for name in (LAST, INTERRUPTED) for path in folder.glob(f"{name}*.ckpt")]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def _best(folder: Path) -> Path | None:
    found = list(folder.glob(f"{BEST}*.ckpt"))
    newest = _last(folder)
    if newest is not None and len(found) != 1:
        states = torch.load(newest, map_location="cpu", weights_only=True, mmap=True).get("callbacks", {})
        names = [Path(state["best_model_path"]).name for state in states.values() if state.get("best_model_path")]
        names = [name for name in names if not name.startswith((LAST, INTERRUPTED))]
        found = [folder / name for name in names if (folder / name).is_file()] or found
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def saved_checkpoint(trainer: Trainer) -> Path | None:
    """Return the best checkpoint that a fit saved, else its last one; None where it saved none."""
    saved = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
    paths = [one.best_model_path or one.last_model_path for one in sorted(saved, key=lambda one: not one.monitor)]
    found = next(filter(None, paths), None)
    return Path(found) if found else None


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
        trainer.strategy.remove_checkpoint(self.path)


def fit_callbacks(
    given: Sequence[Callback], model: LightningModule, run: Path, trainer: Mapping[str, object]
) -> list[Callback]:
    """Return what every fit has beside its `given` callbacks: `StepSeed`, `NonFiniteGuard`, and the checkpoints.

    The best checkpoint is chosen by the model's `monitor`; a model without it keeps the last one only. `trainer` are
    the trainer's arguments.
    """
    added: list[Callback] = [] if any(isinstance(one, StepSeed) for one in given) else [StepSeed()]
    if not any(isinstance(one, NonFiniteGuard) for one in given):
        added.append(NonFiniteGuard())
    if trainer.get("enable_checkpointing") is False or trainer.get("fast_dev_run"):
        return added
    folder = run / CHECKPOINTS
    if not any(isinstance(one, ModelCheckpoint) for one in given):
        if isinstance(model, Monitored):
            figure, mode = model.monitor
            best = ModelCheckpoint(folder, filename=BEST, monitor=figure, mode=mode, enable_version_counter=False)
            added.append(best)
        # a callback of its own: save_last=True would leave the last one as old as the best one
        added.append(ModelCheckpoint(folder, filename=LAST, enable_version_counter=False))
    if not any(isinstance(one, OnExceptionCheckpoint) for one in given):
        added.append(InterruptCheckpoint(folder))
    return added


def plugins(given: object) -> list[object]:
    """Return the trainer's plugins, with `SafeCheckpointIO` where no other CheckpointIO is given."""
    listed = list(given) if isinstance(given, list | tuple) else [] if given is None else [given]
    return listed if any(isinstance(one, CheckpointIO) for one in listed) else [*listed, SafeCheckpointIO()]


def display_callbacks(
    given: Sequence[Callback], trainer: Mapping[str, object], progress: StageProgressBar
) -> list[Callback]:
    """Return the progress bar and metrics.json where they are missing among the `given` callbacks."""
    added: list[Callback] = []
    if trainer.get("enable_progress_bar") is not False and not any(isinstance(one, ProgressBar) for one in given):
        added.append(progress)
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
    if text and isinstance(writer, ExperimentWriter):
        metrics.write_text(text, encoding="utf-8")
        writer.metrics_keys = text.partition("\n")[0].strip().split(",")
    return [TensorBoardLogger(home, name=name, version=run.name, default_hp_metric=False), csv]
