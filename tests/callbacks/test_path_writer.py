"""Rows of the predicted paths, and how the parts of several processes come together."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import torch

from lpr_lightning.callbacks.path_writer import HEADER, merge, path_rows
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import PathRequest


def write_part(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def request() -> PathRequest:
    return replace(Ladder(3).request([[0], [1]], 2), row=torch.tensor([4, -1]), learner=torch.tensor([7, -1]))


def test_rows_of_a_batch() -> None:
    rolled = rollout(Ladder(3), request(), torch.tensor([[0, 2], [-1, -1]]))
    rows = path_rows(request(), rolled, None, ["a", "b", "c"], None)
    assert rows == [
        ["4", "7", "1", "0", "a", "0", ""],
        ["4", "7", "2", "2", "c", "0", ""],
        ["-1", "-1", "0", *[""] * 4],
    ]


def test_padding_changes_nothing() -> None:
    rows = []
    for path in ([[0, 2], [1, -1]], [[0, 2, -1, -1], [1, -1, -1, -1]]):
        rows.append(path_rows(request(), rollout(Ladder(3), request(), torch.tensor(path)), None, [], None))
    assert rows[0] == rows[1]


def test_first_path_of_each_group() -> None:
    rolled = rollout(Ladder(3), request(), torch.tensor([[0], [1], [2], [0]]), group_size=2)
    assert [row[3] for row in path_rows(request(), rolled, None, [], None)] == ["0", "2"]


def test_parts_are_put_in_order_and_repeats_dropped(tmp_path: Path) -> None:
    first = write_part(
        tmp_path / "a",
        [["2", "cy", "1", "5", "", "", ""], ["2", "cy", "2", "6", "", "", ""], ["-1", "x", "0", *[""] * 4]],
    )
    second = write_part(
        tmp_path / "b", [["0", 'an"n', "0", *[""] * 4], ["2", "cy", "1", "5", "", "", ""], ["-1", "y", "0", *[""] * 4]]
    )
    assert merge([first, second], tmp_path / "all") == 4
    with (tmp_path / "all").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == HEADER
    assert [(row[0], row[1]) for row in rows] == [('an"n', "0"), ("cy", "1"), ("cy", "2"), ("x", "0"), ("y", "0")]


def test_no_learner_gives_the_header_alone(tmp_path: Path) -> None:
    assert merge([write_part(tmp_path / "a", [])], tmp_path / "all") == 0
    assert (tmp_path / "all").read_text().splitlines() == [",".join(HEADER)]
