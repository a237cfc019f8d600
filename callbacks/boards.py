"""Where pictures and texts go: the TensorBoard loggers of a Trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add_figure(trainer: Trainer, tag: str, figure: Figure) -> None:
    """Add a picture at the current step to every TensorBoard logger; call it on rank zero."""
    from lpr_lightning.callbacks.figures import as_array

    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    if boards:
        picture = as_array(figure)
        for logger in boards:
            logger.experiment.add_image(tag, picture, trainer.global_step, dataformats="HWC")


def add_text(trainer: Trainer, tag: str, text: str) -> None:
    """Add markdown at the current step to every TensorBoard logger; call it on rank zero."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(tag, text, trainer.global_step)
