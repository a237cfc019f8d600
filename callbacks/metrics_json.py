"""The figures of a run as a file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from lpr_lightning.bases.staged import datamodule_of, fast_dev_run
from lpr_lightning.cache import atomic_write, fingerprint
from lpr_lightning.callbacks.pictures import checked_file_name, run_folder


@runtime_checkable
class HasFingerprint(Protocol):
    """A datamodule that knows which data it has."""

    @property
    def fingerprint(self) -> str:
        """Hash of the source files and of every option that changes the data."""
        ...


LAST_EPOCH, FIGURES = "last_epoch/", "figures"
"""What the names of the last epoch's figures begin with, and where a checkpoint keeps its own."""


class MetricsJson(Callback):
    """Writes `val/…` and `test/…` figures of one model to a file in the run's folder.

    After a fit `val/…` are the figures of the best checkpoint, which is then tested (where there is none, of the last
    epoch); those of the last epoch are there as `last_epoch/val/…`. After a test `test/…` are those of the tested
    checkpoint, and `val/…` what was measured when it was saved. Every checkpoint holds the figures of its validation.

    Written after every fit, validation and test, whole or not at all; not in a `fast_dev_run`. Numbers that are not
    finite become null. Beside the figures stand `"data"` (class and fingerprint of the datamodule) and `"run"` (class
    of the module, fingerprint of its arguments, seed, epochs and steps trained, name of the checkpoint).

    Args:
        name: file name.

    Raises:
        SettingError: `name` is empty or has a folder in it.
    """

    def __init__(self, name: str = "metrics.json") -> None:
        self.name = checked_file_name(name)
        self._validated = -1
        self._fitted: str | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier fit."""
        self._validated, self._fitted = -1, None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]) -> None:
        """Put the figures of the validation of these weights into the checkpoint."""
        if trainer.state.fn == TrainerFn.FITTING and self._validated == trainer.global_step:
            checkpoint[FIGURES] = figures_of(trainer, "val/")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write after a fit: the figures of the best checkpoint, and of the last epoch."""
        last, self._fitted = figures_of(trainer, "val/"), best_checkpoint(trainer)
        named = {f"{LAST_EPOCH}{name}": value for name, value in last.items()}
        self._write(trainer, pl_module, (figures_in(self._fitted) or last) | named, self._fitted)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write after a validation of its own."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            figures = earlier_figures(run_folder(trainer) / self.name) | figures_of(trainer, "val/")
            self._write(trainer, pl_module, figures, checkpoint_of(trainer))
        elif not trainer.sanity_checking:
            self._validated = trainer.global_step

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write after a test: its figures, beside those of the checkpoint's own validation."""
        tested, earlier = checkpoint_of(trainer), earlier_figures(run_folder(trainer) / self.name)
        if tested is not None and self._fitted is not None and tested != self._fitted:
            earlier = {name: value for name, value in earlier.items() if name.startswith(LAST_EPOCH)}
            earlier |= figures_in(tested)
        self._write(trainer, pl_module, earlier | figures_of(trainer, "test/"), tested or self._fitted)

    def _write(
        self, trainer: Trainer, pl_module: LightningModule, figures: Mapping[str, object], checkpoint: str | None
    ) -> None:
        path = run_folder(trainer) / self.name
        if trainer.is_global_zero and not fast_dev_run(trainer):
            name = None if checkpoint is None else Path(checkpoint).name
            run = run_part(trainer, pl_module) | {"checkpoint": name}
            content = {**figures, "data": data_part(trainer), "run": run}
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def best_checkpoint(trainer: Trainer) -> str | None:
    """Return the checkpoint that a figure chose in this fit, if one did."""
    saved = [one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint) and one.monitor]
    return next((one.best_model_path for one in saved if one.best_model_path), None)


def checkpoint_of(trainer: Trainer) -> str | None:
    """Return the checkpoint that was validated or tested; None where the module's own weights were."""
    return None if trainer.ckpt_path is None else str(trainer.ckpt_path)


def figures_in(checkpoint: str | None) -> dict[str, float | None]:
    """Return the figures that a checkpoint holds of its own validation; nothing where it holds none."""
    if checkpoint is None or not os.path.isfile(checkpoint):
        return {}
    figures: dict[str, float | None] = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True).get(
        FIGURES, {}
    )
    return figures


def figures_of(trainer: Trainer, stage: str = "") -> dict[str, float | None]:
    """Return the logged figures of a stage (`val/`, `test/`; default both); None where not finite."""
    wanted = {name: float(value) for name, value in trainer.callback_metrics.items() if is_figure(name)}
    return {name: value if math.isfinite(value) else None for name, value in wanted.items() if name.startswith(stage)}


def is_figure(key: str) -> bool:
    """Return whether a key of the file is a figure.

    >>> is_figure("test/random/learning_effect"), is_figure("data")
    (True, False)
    """
    return key.startswith(("val/", "test/", LAST_EPOCH))


def earlier_figures(path: Path) -> dict[str, object]:
    """Return the figures that the file holds already; nothing if there is none or it cannot be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in content.items() if is_figure(key)} if isinstance(content, dict) else {}


def data_part(trainer: Trainer) -> dict[str, str | None]:
    """Say which data the figures come from."""
    data = datamodule_of(trainer)
    return {
        "class": None if data is None else type(data).__name__,
        "fingerprint": data.fingerprint if isinstance(data, HasFingerprint) else None,
    }


def run_part(trainer: Trainer, pl_module: LightningModule) -> dict[str, str | int | None]:
    """Say which run the figures come from."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    plain = json.loads(json.dumps(dict(pl_module.hparams), default=str))
    return {
        "class": type(pl_module).__name__,
        "config": fingerprint(plain),
        "epochs": trainer.current_epoch,
        "seed": int(seed) if seed is not None else None,
        "steps": trainer.global_step,
    }
