"""Pictures and files of a run: matplotlib figures in one look, TensorBoard, and the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray

from lpr_lightning.bases.staged import fast_dev_run
from lpr_lightning.cache import atomic_write
from lpr_lightning.errors import SettingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POLICY = "#c8321e"
INK = "#333333"
BAND = "#7fb2dd"
OTHERS = ("#2a6fb0", "#3b8f4a", "#8a5aa8", "#c28a10", "#4a9aa0", "#7a6a58")
MARKERS = ("s", "^", "D", "v", "P", "X")


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, heights: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure without pyplot's global state, with its axes in reading order and the rows' relative `heights`.

    >>> figure, axes = new_figure(4, 3, rows=2)
    >>> len(axes)
    2
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = [axis for row in figure.subplots(rows, columns, squeeze=False, height_ratios=heights) for axis in row]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#e6e6e6", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=9, colors=INK)
    return figure, axes


def as_array(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure into an array [height, width, 3].

    >>> as_array(new_figure(2, 1)[0]).shape
    (110, 220, 3)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def add_figure(trainer: Trainer, tag: str, figure: Figure, file: Path | None = None) -> None:
    """Add a picture at the current step to every TensorBoard logger, and to a PNG file if told; for rank zero alone."""
    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    if not boards and file is None:
        return
    picture = as_array(figure)  # drawn once: most of the time goes into its layout
    for logger in boards:
        logger.experiment.add_image(tag, picture, trainer.global_step, dataformats="HWC")
    if file is not None:
        from matplotlib.image import imsave

        with atomic_write(file) as temporary:
            imsave(temporary, picture, format="png")


def add_text(trainer: Trainer, tag: str, text: str) -> None:
    """Add markdown at the current step to every TensorBoard logger; call it on rank zero."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(tag, text, trainer.global_step)


def picture_file(trainer: Trainer, tag: str, wanted: bool) -> Path | None:
    """Return the PNG file of a tag in the run's folder (`test_mastery.png` for `test/mastery`), or None.

    None where it is not `wanted`, and in a `fast_dev_run`. Call it on every rank, or none.
    """
    if not wanted or fast_dev_run(trainer):
        return None
    return run_folder(trainer) / f"{tag.replace('/', '_')}.png"


def run_folder(trainer: Trainer) -> Path:
    """Return `trainer.log_dir`, or the default root folder where there is no logger.

    Lightning asks rank zero for it: call it on every rank, or none.
    """
    return Path(trainer.log_dir or trainer.default_root_dir)


def checked_file_name(name: str) -> str:
    """Return a file name that has no folder in it.

    >>> checked_file_name("a/b.json")
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.SettingError: name='a/b.json' cannot be used: expected a file name without a folder. \
it is written to the run's folder.
    """
    if not name or Path(name).name != name:
        raise SettingError("name", name, "a file name without a folder", "it is written to the run's folder")
    return name
