"""Where pictures and texts go: the TensorBoard loggers of a Trainer, and files in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from lpr_lightning.cache import atomic_write
from lpr_lightning.callbacks.run_folder import run_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add_figure(trainer: Trainer, tag: str, figure: Figure, file: Path | None = None) -> None:
    """Add a picture at the current step to every TensorBoard logger, and to a PNG file if told; for rank zero alone."""
    from lpr_lightning.callbacks.figures import as_array

    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    if boards:
        picture = as_array(figure)
        for logger in boards:
            logger.experiment.add_image(tag, picture, trainer.global_step, dataformats="HWC")
    if file is not None:
        with atomic_write(file) as temporary:
            figure.savefig(temporary, format="png")


def picture_file(trainer: Trainer, tag: str, wanted: bool) -> Path | None:
    """Return the PNG file of a tag in the run's folder (`test_mastery.png` for `test/mastery`), or None.

    None where it is not `wanted`, and in a `fast_dev_run`. Call it on every rank, or none.
    """
    if not wanted or getattr(trainer, "fast_dev_run", False):
        return None
    return run_folder(trainer) / f"{tag.replace('/', '_')}.png"


def add_text(trainer: Trainer, tag: str, text: str) -> None:
    """Add markdown at the current step to every TensorBoard logger; call it on rank zero."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(tag, text, trainer.global_step)
