"""Tables of a comparison of recommenders in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Table = dict[tuple[str, str, str], dict[str, float]]
"""Figures by goal, method and judge."""

TITLES = {"all": "all concepts", "practised": "practised", "upcoming": "upcoming", "weakest": "weakest"}


def methods_by(table: Table, judge: str) -> list[str]:
    """Return the methods that a judge has judged, in order."""
    return list(dict.fromkeys(method for _, method, by in table if by == judge))


def judge_table(table: Table, goals: Sequence[str], judge: str) -> str:
    """Return gain with its interval, share of the attainable and of the bound of every method on every goal.

    >>> figures = {"gain": 0.1, "gain_low": 0.09, "gain_high": 0.11, "share": 0.5, "of_bound": 1.0}
    >>> print(judge_table({("all", "beam", "dkt"): figures}, ["all"], "dkt"))
    | method | all concepts |
    | :-- | --: |
    | beam | +0.100 [+0.090, +0.110], 50 %, 1.00 |
    """
    rows = [[name, *(_cell(table.get((goal, name, judge), {})) for goal in goals)] for name in methods_by(table, judge)]
    return markdown(["method", *(TITLES.get(goal, goal) for goal in goals)], rows)


def over_table(table: Table, goals: Sequence[str], judge: str, figure: str, digits: int) -> str:
    """Return one figure of every method on every goal."""
    rows = []
    for name in methods_by(table, judge):
        cells = [table.get((goal, name, judge), {}).get(figure) for goal in goals]
        rows.append([name, *("" if cell is None else f"{cell:.{digits}f}" for cell in cells)])
    return markdown(["method", *(TITLES.get(goal, goal) for goal in goals)], rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is text."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def _cell(figures: Mapping[str, float]) -> str:
    if not figures:
        return ""
    text = f"{figures['gain']:+.3f} [{figures['gain_low']:+.3f}, {figures['gain_high']:+.3f}], {figures['share']:.0%}"
    return (text + f", {figures['of_bound']:.2f}" if "of_bound" in figures else text).replace("%", " %")
