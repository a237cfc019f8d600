"""Pictures of a comparison of recommenders: bars (ExRec, figure 3) and growth of concepts (figures 5 and 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from lpr_lightning.cache import atomic_write
from lpr_lightning.callbacks.chosen_learners import short_name_of
from lpr_lightning.callbacks.pictures import INK, OTHERS, POLICY, as_array, new_figure
from lpr_lightning.studies.exercise_tables import TITLES, Table, methods_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, WIDTH = 14, 26
"""Most concepts of a picture of growth, and letters of their names."""


@dataclass(frozen=True)
class Growth:
    """How one learner's concepts grew under a method: `mastery` [L + 1, N], concepts asked [L, C], answers [L]."""

    method: str
    mastery: Tensor
    concept: Tensor
    correct: Tensor


def draw_bars(table: Table, goals: Sequence[str], judge: str) -> Figure:
    """Return shares of the attainable gain by goal (one panel each) and method, with 95 % intervals over learners."""
    methods = methods_by(table, judge)
    figure, axes = new_figure(4.0 * len(goals) + 1.5, 0.32 * len(methods) + 1.3, columns=len(goals))
    for number, (axis, goal) in enumerate(zip(axes, goals)):
        for row, name in enumerate(methods):
            found = table.get((goal, name, judge))
            if found is None:
                continue
            value, low, high = (100 * found[key] for key in ("share", "share_low", "share_high"))
            colour = OTHERS[0] if name.startswith(("exact", "beam", "oracle")) else OTHERS[5]
            axis.barh(row, value, color=colour, height=0.7)
            axis.plot([low, high], [row, row], color=POLICY, linewidth=1.5)
        axis.axvline(0, color=INK, linewidth=0.8)
        axis.set_yticks(range(len(methods)), methods if number == 0 else [""] * len(methods))
        axis.set_ylim(len(methods) - 0.4, -0.6)
        axis.set_title(TITLES.get(goal, goal), fontsize=10, color=INK)
        axis.set_xlabel("% of the attainable gain", color=INK, fontsize=9)
    figure.suptitle(f"Gain by {judge}", fontsize=11, color=INK)
    return figure


def draw_growth(panels: Sequence[Growth], names: Sequence[str]) -> Figure:
    """Return, for one learner, a heatmap for each method: the concepts that were asked most, step by step.

    A dot marks a right answer, a cross a wrong one, in the rows of the concepts that were asked.
    """
    count: dict[int, int] = {}
    for panel in panels:
        for concept in panel.concept.flatten().tolist():
            if concept >= 0:
                count[concept] = count.get(concept, 0) + 1
    rows = sorted(sorted(count, key=lambda one: -count[one])[:ROWS])
    columns = min(len(panels), 4)
    lines = -(-len(panels) // columns)
    height = (0.2 * max(len(rows), 3) + 0.7) * lines + 0.4
    figure, axes = new_figure(2.4 * columns + 3.4, height, rows=lines, columns=columns)
    image = None
    for number, axis in enumerate(axes):
        axis.grid(visible=False)
        if number >= len(panels):
            axis.set_visible(False)
            continue
        panel = panels[number]
        shown = panel.mastery[:, rows].T.tolist()
        image = axis.imshow(shown, cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        for right, marker, colour in ((True, "o", "white"), (False, "x", POLICY)):
            places = [
                (step, rows.index(one))
                for step, asked in enumerate(panel.concept.tolist(), 1)
                for one in asked
                if one in rows and (float(panel.correct[step - 1]) >= 0.5) == right
            ]
            if places:
                steps, lines_of = zip(*places)
                axis.scatter(steps, lines_of, s=14, marker=marker, color=colour, linewidths=1.0)
        labels = [short_name_of(one, names, WIDTH) for one in rows] if number % columns == 0 else [""] * len(rows)
        axis.set_yticks(range(len(rows)), labels, fontsize=7)
        axis.tick_params(axis="y", length=0)
        axis.set_title(panel.method, fontsize=9, color=INK)
    figure.supxlabel("exercise (0: before the first); dot: answered right, cross: wrong", fontsize=9, color=INK)
    if image is not None:
        figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01).set_label("mastery", color=INK)
    return figure


def show(out: Path, name: str, figure: Figure) -> None:
    """Write a picture to `<out>/<name>.png`, and to TensorBoard in `<out>/tensorboard`."""
    from torch.utils.tensorboard.writer import SummaryWriter

    with atomic_write(out / f"{name}.png") as temporary:
        figure.savefig(temporary, format="png")
    board = SummaryWriter(str(out / "tensorboard"))
    board.add_image(name, as_array(figure), dataformats="HWC")
    board.close()
