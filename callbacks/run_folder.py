"""Where a run's files go."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer


def run_folder(trainer: Trainer) -> Path:
    """Return `trainer.log_dir`, or the default root folder where there is no logger.

    Lightning asks rank zero for it: call it on every rank, or none.
    """
    return Path(trainer.log_dir or trainer.default_root_dir)
