"""The figures of a run as a file."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from lpr_lightning.cache import atomic_write, fingerprint
from lpr_lightning.callbacks.run_folder import run_folder
from lpr_lightning.errors import SettingError


class MetricsJson(Callback):
    """Writes every `val/…` and `test/…` figure of `trainer.callback_metrics` to a file in the run's folder.

    Written after every fit, validation and test, whole or not at all; not in a `fast_dev_run`. Figures of an earlier
    stage in the same folder are kept. Numbers that are not finite become null. Beside the figures stand `"data"`
    (class and fingerprint of the datamodule) and `"run"` (class of the module, fingerprint of its arguments, seed,
    epochs and steps trained).

    Args:
        name: file name.

    Raises:
        SettingError: `name` is empty or has a folder in it.
    """

    def __init__(self, name: str = "metrics.json") -> None:
        if not name or Path(name).name != name:
            raise SettingError("name", name, "a file name without a folder", "it is written to the run's folder")
        self.name = name

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
        if trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False):
            content = {**kept_figures(path), **figures_of(trainer), "data": data_part(trainer)}
            content["run"] = run_part(trainer, pl_module)
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


def kept_figures(path: Path) -> dict[str, Any]:
    """Return the figures that the file holds already; nothing if there is none or it cannot be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in content.items() if is_figure(key)} if isinstance(content, dict) else {}


def data_part(trainer: Trainer) -> dict[str, Any]:
    """Say which data the figures come from."""
    datamodule = getattr(trainer, "datamodule", None)
    return {
        "class": None if datamodule is None else type(datamodule).__name__,
        "fingerprint": getattr(datamodule, "fingerprint", None),
    }


def run_part(trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
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
