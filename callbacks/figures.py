"""Matplotlib pictures without pyplot's global state, all in one look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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
    """Return a figure with its axes in reading order; `heights` says how high the rows are, beside one another.

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

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()
