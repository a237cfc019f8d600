"""Tables and pictures of a comparison of policies on paths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lpr_lightning.callbacks.pictures import INK, MARKERS, OTHERS, POLICY, new_figure
from lpr_lightning.studies.exercise_tables import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cells = dict[tuple[str, str], dict[str, float]]
"""Figures by method and judge, of one data set, protocol and length."""
NO_FIGURES: dict[str, float] = {}


def names_of(cells: Cells) -> tuple[list[str], list[str]]:
    """Return methods and judges in order."""
    return list(dict.fromkeys(name for name, _ in cells)), list(dict.fromkeys(judge for _, judge in cells))


def path_table(cells: Cells, costs: Mapping[str, Mapping[str, float]], own: str) -> str:
    """Return one row for each method: effect by its own simulator, by the others and in truth, and what it cost.

    Args:
        cells: figures by method and judge.
        costs: `seconds` of the fit and `parameters` by method.
        own: the judge that methods were trained on, or looked into.

    >>> figures = {"effect": 0.5, "effect_low": 0.4, "effect_high": 0.6, "median": 0.5, "share": 1.0, "diversity": 0.3}
    >>> print(path_table({("beam", "dkt"): figures | {"seeds": 1.0, "seconds": 2.0}}, {}, "dkt"))
    | method | by dkt, mean [95 %] | median | of the search | diversity | seeds | fit, s | teaching, s | parameters |
    | :-- | --: | --: | --: | --: | --: | --: | --: | --: |
    | beam | 0.500 [0.400, 0.600] | 0.500 | 1.00 | 0.30 | 1 |  | 2.0 |  |
    """
    methods, judges = names_of(cells)
    others = [judge for judge in judges if judge != own]
    head = ["method", f"by {own}, mean [95 %]", "median", "of the search", *(f"by {judge}" for judge in others)]
    head += ["diversity", "seeds", "fit, s", "teaching, s", "parameters"]
    rows = []
    for name in methods:
        mine, cost = cells.get((name, own), NO_FIGURES), costs.get(name, NO_FIGURES)
        row = [name, interval(mine), shown(mine, "median"), shown(mine, "share", 2)]
        for judge in others:
            found = cells.get((name, judge), NO_FIGURES)
            share = f", {found['share']:.2f}" if "share" in found else ""
            row.append(interval(found) + share)
        row += [shown(mine, "diversity", 2), shown(mine, "seeds", 0), shown(cost, "seconds", 0)]
        rows.append([*row, shown(mine, "seconds", 1), shown(cost, "parameters", 0)])
    return markdown(head, rows)


def advantage_table(cells: Cells, fronts: Mapping[str, Mapping[str, float]], own: str, truth: str) -> str:
    """Return one row for each advantage: effect in truth and on the simulator, ZPD, length, diversity, hypervolume."""
    head = ["IB-GRPO with", "in truth [95 %]", f"by {own} [95 %]", "seed error, truth", "over the sum, truth"]
    head += ["ZPD", "length", "diversity", "set hypervolume"]
    rows = []
    for name in fronts:
        mine, true, front = cells.get((name, own), NO_FIGURES), cells.get((name, truth), NO_FIGURES), fronts[name]
        gap = f"{true['over']:+.3f} ± {true['over_error']:.3f}" if "over" in true else ""
        spread = shown(true, "seed_error") if true.get("seeds", 1.0) > 1 else ""
        row = [name, interval(true), interval(mine), spread, gap, shown(front, "zpd")]
        rows.append([*row, shown(mine, "fit"), shown(mine, "diversity"), shown(front, "hypervolume")])
    return markdown(head, rows)


def shown(figures: Mapping[str, float], name: str, digits: int = 3) -> str:
    """Return a figure as text, empty where there is none.

    >>> shown({"median": 0.25}, "median"), shown({}, "median")
    ('0.250', '')
    """
    value = figures.get(name)
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def interval(figures: Mapping[str, float]) -> str:
    """Return an effect with its interval as text, empty where there is none."""
    if "effect" not in figures:
        return ""
    return f"{figures['effect']:.3f} [{figures['effect_low']:.3f}, {figures['effect_high']:.3f}]"


def draw_paths(panels: Mapping[str, Cells]) -> Figure:
    """Return the effect of every method (rows) by every judge (marks), one panel for each title."""
    methods = list(dict.fromkeys(name for cells in panels.values() for name, _ in cells))
    height = 0.34 * len(methods) + 1.9
    figure, axes = new_figure(4.4 * len(panels) + 2.0, height, columns=len(panels))
    for number, (axis, (title, cells)) in enumerate(zip(axes, panels.items())):
        for place, judge in enumerate(names_of(cells)[1]):
            rows = [(row, cells[name, judge]) for row, name in enumerate(methods) if (name, judge) in cells]
            colour = POLICY if judge == "truth" else OTHERS[place % len(OTHERS)]
            lines, values = [row for row, _ in rows], [found["effect"] for _, found in rows]
            axis.scatter(values, lines, s=30, marker=MARKERS[place % len(MARKERS)], color=colour, label=judge, zorder=3)
            if place == 0 or judge == "truth":
                for row, found in rows:
                    axis.plot([found["effect_low"], found["effect_high"]], [row, row], color=colour, linewidth=1.2)
        axis.axvline(0, color=INK, linewidth=0.8)
        axis.set_yticks(range(len(methods)), methods if number == 0 else [""] * len(methods))
        axis.set_ylim(len(methods) - 0.4, -0.6)
        axis.set_title(title, fontsize=10, color=INK)
        axis.set_xlabel("learning effect", color=INK, fontsize=9)
    marks, labels = axes[0].get_legend_handles_labels()
    figure.legend(marks, labels, fontsize=8, loc="outside lower center", ncols=4, title="by", title_fontsize=8)
    return figure


def draw_radar(rows: Mapping[str, Sequence[float]], names: Sequence[str]) -> Figure:
    """Return a radar (figure 4 of arXiv 2601.14686): one line for each row, each axis from its least to its largest.

    Args:
        rows: the figures of each row, one for each of `names`.
        names: of the axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as New

    figure = New(figsize=(8.5, 6), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axis = figure.add_subplot(projection="polar")
    angles = [2 * math.pi * place / len(names) for place in range(len(names))]
    bounds = [
        (min(row[place] for row in rows.values()), max(row[place] for row in rows.values()))
        for place in range(len(names))
    ]
    for number, (name, row) in enumerate(rows.items()):
        scaled = [
            0.2 + 0.8 * (value - low) / (high - low) if high > low else 1.0 for value, (low, high) in zip(row, bounds)
        ]
        colour = POLICY if number == 0 else OTHERS[(number - 1) % len(OTHERS)]
        axis.plot([*angles, angles[0]], [*scaled, scaled[0]], marker="o", markersize=3, color=colour, label=name)
    labels = [f"{name}\n{low:.3f} to {high:.3f}" for name, (low, high) in zip(names, bounds)]
    axis.set_xticks(angles, labels, fontsize=8, color=INK)
    axis.set_yticks([])
    axis.set_ylim(0, 1.05)
    axis.tick_params(axis="x", pad=16)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.08, 1.05))
    return figure
