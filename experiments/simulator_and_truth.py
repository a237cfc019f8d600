"""Draw what policies achieve in the simulator against what they achieve in truth, one point for each policy and run.

    python experiments/simulator_and_truth.py growth=logs/grpo/version_0 literature=logs/grpo/version_1 --out truth.png

Each argument is a title and a run folder (or its `metrics.json`); runs of one title share a panel. On the diagonal a
simulator keeps its promise; what lies below it was promised and not taught. Points of further tasks are hollow.
`--csv FILE` writes the points as a table.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lpr_lightning.cache import atomic_write
from lpr_lightning.errors import DataError, LPRError, MissingFileError, SettingError

EFFECTS = ("learning_effect_soft", "true_learning_effect_soft")
MODULE = "policy"
COLOURS = {MODULE: "#c8321e", "search": "#2a6fb0", "chain_search": "#4a9aa0", "prerequisite_rule": "#3b8f4a"}
"""Policies with a colour of their own; the others are grey, with their names beside them in the first panel."""


class Point(NamedTuple):
    """Learning effect of a policy in a test, soft marks: in the simulator and in truth; `task` as in its figures."""

    task: str
    policy: str
    simulator: float
    truth: float


def points(figures: Mapping[str, float | None]) -> list[Point]:
    """Return the points of a run, in the order of their names.

    >>> own = {"test/learning_effect_soft": 0.9, "test/true_learning_effect_soft": 0.2}
    >>> other = {"test/ahead/random/learning_effect_soft": 0.1, "test/ahead/random/true_learning_effect_soft": 0.3}
    >>> oracles = {f"{task}/oracle/true_learning_effect_soft": 0.7 for task in ("test", "test/ahead")}
    >>> for point in points(own | other | oracles): print(*point)
    test policy 0.9 0.2
    test/ahead random 0.1 0.3
    """
    found, oracle = [], "/oracle/true_learning_effect_soft"
    tasks = {key.removesuffix(oracle) for key in figures if key.endswith(oracle)}
    for key, own in figures.items():
        prefix, _, figure = key.rpartition("/")
        true = figures.get(f"{prefix}/{EFFECTS[1]}")
        if figure != EFFECTS[0] or own is None or true is None or not prefix.startswith("test"):
            continue
        task, _, policy = prefix.rpartition("/")
        task, policy = (prefix, MODULE) if prefix in tasks else (task, policy)
        found.append(Point(task, policy, own, true))
    return sorted(found)


def read(run: str) -> list[Point]:
    """Return the points of a run folder.

    Raises:
        MissingFileError: it holds no `metrics.json`.
        DataError: the file has no figures of a test with learners of known truth.
    """
    path = Path(run)
    path = path / "metrics.json" if path.is_dir() else path
    if not path.is_file():
        raise MissingFileError(path.name, path.parent, "give the folder of a run that was tested")
    try:
        found = points(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, AttributeError) as error:
        raise DataError(str(path), f"it is no file of figures: {error}") from error
    if not found:
        raise DataError(str(path), f"no {EFFECTS[1]} in it; test on SyntheticLearners, with CompareBaselines")
    return found


def named(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield title and run of each `title=run`."""
    for word in words:
        title, equals, run = word.partition("=")
        if not (title and equals and run):
            raise SettingError("run", word, "a title and a run folder, as in growth=logs/grpo/version_0")
        yield title, run


def draw(panels: Mapping[str, list[Point]], file: Path) -> None:
    """Draw a panel for each title."""
    from lpr_lightning.callbacks.pictures import new_figure

    figure, axes = new_figure(4.2 * len(panels), 4.2, columns=len(panels))
    for number, (axis, (title, found)) in enumerate(zip(axes, panels.items())):
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle=":")
        labelled: set[str] = set()
        for point in found:
            colour, hollow = COLOURS.get(point.policy, "0.55"), point.task != "test"
            label = point.policy if point.policy in COLOURS and point.policy not in labelled else None
            labelled.add(point.policy)
            axis.plot(
                *(point.simulator, point.truth, "o"),
                markersize=8 if point.policy == MODULE else 5,
                color=colour,
                markerfacecolor="none" if hollow else colour,
                label=label if number == 0 else None,
            )
        axis.set(title=title, xlabel="learning effect in the simulator", xlim=(-0.1, 1.02), ylim=(-0.1, 1.02))
    axes[0].set_ylabel("learning effect in truth")
    axes[0].plot([], [], "o", color="0.55", markersize=5, label="others")
    axes[0].legend(fontsize=8, loc="upper left")
    with atomic_write(file) as temporary:
        figure.savefig(temporary, format="png")


def write(panels: Mapping[str, list[Point]], file: Path) -> None:
    """Write the points as CSV."""
    with atomic_write(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(["panel", *Point._fields])
        for title, found in panels.items():
            table.writerows([title, *point] for point in found)


def main(words: Sequence[str] | None = None) -> None:
    """Read the runs, draw, and write the table if told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="TITLE=RUN")
    parser.add_argument("--out", type=Path, default=Path("truth.png"))
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args(words)
    panels: dict[str, list[Point]] = {}
    try:
        for title, run in named(given.runs):
            panels.setdefault(title, []).extend(read(run))
    except LPRError as error:
        raise SystemExit(str(error)) from error
    draw(panels, given.out)
    if given.csv is not None:
        write(panels, given.csv)
    print(given.out)


if __name__ == "__main__":
    main()
