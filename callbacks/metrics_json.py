"""The figures of a run as a file."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer
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


class MetricsJson(Callback):
    """Writes every `val/…` and `test/…` figure of `trainer.callback_metrics` to a file in the run's folder.

    Written after every fit, validation and test, whole or not at all; not in a `fast_dev_run`. Figures of an earlier
    stage in the same folder stay. Numbers that are not finite become null. Beside the figures stand `"data"`
    (class and fingerprint of the datamodule) and `"run"` (class of the module, fingerprint of its arguments, seed,
    epochs and steps trained).

    Args:
        name: file name.

    Raises:
        SettingError: `name` is empty or has a folder in it.
    """

    def __init__(self, name: str = "metrics.json") -> None:
        self.name = checked_file_name(name)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write after a fit."""
        self._write(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write after a validation of its own."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._write(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write after a test."""
        self._write(trainer, pl_module)

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        path = run_folder(trainer) / self.name
        if trainer.is_global_zero and not fast_dev_run(trainer):
            content: dict[str, object] = {**earlier_figures(path), **figures_of(trainer)}
            content |= {"data": data_part(trainer), "run": run_part(trainer, pl_module)}
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def figures_of(trainer: Trainer) -> dict[str, float | None]:
    """Return the logged `val/…` and `test/…` figures; None where not finite."""
    wanted = {key: float(value) for key, value in trainer.callback_metrics.items() if is_figure(key)}
    return {key: value if math.isfinite(value) else None for key, value in wanted.items()}


def is_figure(key: str) -> bool:
    """Return whether a key of the file is a figure.

    >>> is_figure("test/random/learning_effect"), is_figure("data")
    (True, False)
    """
    return key.startswith(("val/", "test/"))


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
