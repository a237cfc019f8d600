"""Run folders `logs/<name>/version_N`, and the callbacks and loggers that fill them unless a configuration differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint, ProgressBar
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lpr_lightning.cache import sweep
from lpr_lightning.callbacks import (
    ExactResume,
    LastCheckpoint,
    MetricsJson,
    NonFiniteGuard,
    SafeCheckpointIO,
    StageProgressBar,
)
from lpr_lightning.callbacks.safe_checkpoints import sound_checkpoint
from lpr_lightning.checked_files import PREVIOUS, SUMS, previous, whole
from lpr_lightning.cli.metrics_csv import MetricsCsv
from lpr_lightning.cli.parsing import TRACER
from lpr_lightning.errors import DamagedFileError, MissingFileError, UnwritableFileError

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
        except OSError as error:
            raise UnwritableFileError(path, error) from error
        else:
            return path


def run_of(checkpoint: Path) -> Path | None:
    """Return the run folder that a checkpoint lies in, if it lies in one.

    >>> run_of(Path("logs/dkt/version_3/checkpoints/last.ckpt"))
    PosixPath('logs/dkt/version_3')
    """
    run = checkpoint.parent.parent
    return run if checkpoint.parent.name == CHECKPOINTS and run.name.startswith("version_") else None


def newest_checkpoint(folder: Path, kind: str, fitting: bool = False) -> Path:
    """Return the `last` or `best` checkpoint of the newest run in `folder` that has one; a damaged one is left out.

    `last` is the newest of the last and the interrupted checkpoint. A fit goes on from the newest run of all: where
    that one has no checkpoint, an older run is no answer. Other subcommands say which newer run they pass over.

    Args:
        folder: where the runs are.
        kind: `last` or `best`.
        fitting: whether a fit is to go on.

    Raises:
        MissingFileError: there is none, or the newest run ended before its first.
        DamagedFileError: the newest run has damaged ones only.
    """
    unfinished: Path | None = None
    for run in versions(folder):
        found = _best(run / CHECKPOINTS) if kind == BEST else _last(run / CHECKPOINTS)
        if found is not None and unfinished is not None and fitting:
            advice = "it ended before its first: start it again without --ckpt_path, or name the older run's, " + str(
                found
            )
            raise MissingFileError(f"a {kind} checkpoint of the newest run", unfinished, advice)
        if found is not None:
            if unfinished is not None:
                rank_zero_warn(f"the newest run, {unfinished}, has no {kind} checkpoint: taking the one of {run}")
            return found
        unfinished = unfinished or (run if _is_fit(run) else None)
    if unfinished is not None:
        advice = (
            "it ended before its first checkpoint, so there is nothing to resume: start it again without --ckpt_path"
        )
        raise MissingFileError(f"a {kind} checkpoint", unfinished, advice)
    raise MissingFileError(
        f"a {kind} checkpoint",
        folder,
        "run fit with the same first --config before, from the same folder, or give --ckpt_path a file",
    )


def given_checkpoint(path: Path, fitting: bool = False) -> Path:
    """Return a checkpoint that was named; a fit goes on from the one before where it is damaged, with a remark.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is damaged, and so is the one before, or it is not a fit that is to go on.
    """
    before = previous(path)
    if not path.is_file() and not (fitting and before.is_file()):
        raise MissingFileError(path.name, path.parent, "give --ckpt_path a file, last or best")
    if fitting:
        return sound_checkpoint(path)
    if not whole(path):
        advice = f"give {before}, the one before it" if whole(before) else "give --ckpt_path another one"
        raise DamagedFileError(path, "its checksum is wrong", advice)
    return path


def steps_of(checkpoint: Path) -> int:
    """Return how many steps a checkpoint's run had logged."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    steps = int(content.get("global_step", 0))
    if loops := content.get("loops"):
        return min(steps, int(loops["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"]))
    return steps


def _is_fit(run: Path) -> bool:
    """Return whether a run folder is one of a fit that saves checkpoints, or was about to."""
    return (run / CHECKPOINTS).is_dir() or any(run.glob(f"{TRACER}*/"))


def _last(folder: Path) -> Path | None:
    return _newest_whole([path for name in (LAST, INTERRUPTED) for path in folder.glob(f"{name}*.ckpt*")])


def _newest_whole(found: Sequence[Path]) -> Path | None:
    """Return the newest of these checkpoints that is whole, or was before it was replaced."""
    names = {path.with_name(path.name.removesuffix(PREVIOUS)) for path in found if path.suffix != SUMS}
    damaged: DamagedFileError | None = None
    for path in sorted(names, key=lambda one: _changed(one), reverse=True):
        try:
            return path if path.is_dir() else sound_checkpoint(path)
        except DamagedFileError as error:
            rank_zero_warn(str(error))
            damaged = error
    if damaged is not None:
        raise damaged
    return None


def _changed(path: Path) -> int:
    """Return when a checkpoint was saved."""
    return max(one.stat().st_mtime_ns for one in (path, previous(path)) if one.exists())


def _best(folder: Path) -> Path | None:
    found = list(folder.glob(f"{BEST}*.ckpt"))
    if len(found) > 1 or not found:
        newest = _last(folder)
        states = {} if newest is None else torch.load(newest, map_location="cpu", weights_only=True, mmap=True)
        paths = [state.get("best_model_path") for state in states.get("callbacks", {}).values()]
        names = [Path(path).name for path in paths if path and not Path(path).name.startswith((LAST, INTERRUPTED))]
        found = [folder / name for name in names if (folder / name).is_file()] or found
    return _newest_whole(found)


def saved_checkpoint(trainer: Trainer) -> Path | None:
    """Return the best checkpoint that a fit saved, else its last one; None where it saved none."""
    saved = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
    paths = [one.best_model_path or one.last_model_path for one in sorted(saved, key=lambda one: not one.monitor)]
    found = next(filter(None, paths), None)
    last = [one.path for one in trainer.checkpoint_callbacks if isinstance(one, LastCheckpoint) and one.path]
    return Path(found) if found else next(iter(last), None)


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
    given: Sequence[Callback],
    model: LightningModule,
    run: Path,
    trainer: Mapping[str, object],
    every_n_steps: int | None = None,
    every_n_minutes: float | None = None,
) -> list[Callback]:
    """Return what every fit has beside its `given` callbacks: `ExactResume`, `NonFiniteGuard`, and the checkpoints.

    The best checkpoint is chosen by the model's `monitor`; a model without it keeps the last one only, which is saved
    after each epoch and, within it, after so many steps or minutes. `trainer` are the trainer's arguments.
    """
    added: list[Callback] = [] if any(isinstance(one, ExactResume) for one in given) else [ExactResume()]
    if not any(isinstance(one, NonFiniteGuard) for one in given):
        added.append(NonFiniteGuard())
    if trainer.get("enable_checkpointing") is False or trainer.get("fast_dev_run"):
        return added
    folder = run / CHECKPOINTS
    if not any(isinstance(one, ModelCheckpoint | LastCheckpoint) for one in given):
        if isinstance(model, Monitored):
            figure, mode = model.monitor
            best = ModelCheckpoint(folder, filename=BEST, monitor=figure, mode=mode, enable_version_counter=False)
            added.append(best)
        added.append(LastCheckpoint(folder, every_n_steps, every_n_minutes, LAST))
        _mark_fit(folder)
    if not any(isinstance(one, OnExceptionCheckpoint) for one in given):
        added.append(InterruptCheckpoint(folder))
    return added


def _mark_fit(folder: Path) -> None:
    """Make the folder of checkpoints, by which a fit that ended before its first is known; clear up after kills."""
    if vars(rank_zero_only).get("rank", 0) == 0:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnwritableFileError(folder, error) from error
        for one in (folder, folder.parent):
            sweep(one)


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


def loggers(run: Path, steps: int | None = None) -> list[Logger]:
    """Return a TensorBoard and a CSV logger that both write into `run`.

    Args:
        run: the run's folder.
        steps: where the run goes on, the steps that its checkpoint had logged: what was logged after them is dropped.
    """
    home, name = str(run.parent.parent), run.parent.name
    board = TensorBoardLogger(home, name=name, version=run.name, default_hp_metric=False, purge_step=steps)
    return [board, MetricsCsv(home, name, run.name, steps)]
