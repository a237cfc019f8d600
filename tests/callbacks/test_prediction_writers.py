"""Rows of predictions, and how the parts of several processes come together."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import torch

from lpr_lightning.callbacks.prediction_writers import PathWriter, Row, merge, path_rows
from lpr_lightning.goals import Targets
from lpr_lightning.policies import follow_paths
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import PAD, Rollout

COLUMNS, OPTIONAL = PathWriter.columns, PathWriter.optional


def taught(path: list[list[int]], group_size: int = 1) -> Rollout:
    ladder = Ladder(3)
    return follow_paths(ladder, Targets(), ladder.request([[0], [1]], 2), torch.tensor(path), None, group_size)


def write_part(path: Path, requests: list[tuple[int, list[Row]]]) -> Path:
    path.write_text("".join(json.dumps(request) + "\n" for request in requests))
    return path


def read(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_rows_of_a_batch() -> None:
    """The first step brings .5 to the only target of the first learner, the second is out of reach."""
    first, second = path_rows(taught([[0, 2], [-1, -1]]), ["a", "b", "c"], [])
    assert first == [
        {"step": 1, "concept": "0", "name": "a", "predicted_success": "0", "expected_gain": "0.5", "serves": "target"},
        {"step": 2, "concept": "2", "name": "c", "predicted_success": "0", "expected_gain": "0", "serves": ""},
    ]
    assert second == [{"step": 0}]


def test_a_step_says_which_targets_build_on_it() -> None:
    behind = torch.tensor([[False] * 3, [True, False, False], [True, True, False]])
    _, (first, second) = path_rows(taught([[2, -1], [0, 1]]), ["a", "b", "c"], [], behind)
    assert (first["serves"], second["serves"]) == ("prerequisite of b", "target")


def test_questions_are_named() -> None:
    rollout = taught([[0, 2], [1, -1]])
    session = replace(
        rollout.session,
        concept=torch.tensor([[[0, 2], [2, PAD]], [[1, PAD], [PAD, PAD]]]),
        item=torch.tensor([[1, 0], [7, PAD]]),
    )
    (both, single), (other,) = path_rows(replace(rollout, session=session), ["a", "b", "c"], ["q", "r"])
    assert (both["concept"], both["name"], both["item"]) == ("0;2", "a;c", "r")
    assert (single["concept"], single["item"]) == ("2", "q")
    assert other["item"] == 7


def test_padding_changes_nothing() -> None:
    short, long = taught([[0, 2], [1, -1]]), taught([[0, 2, -1, -1], [1, -1, -1, -1]])
    assert path_rows(short, [], []) == path_rows(long, [], [])


def test_first_path_of_each_group() -> None:
    tables = path_rows(taught([[0], [1], [2], [0]], group_size=2), [], [])
    assert [rows[0]["concept"] for rows in tables] == ["0", "2"]


def test_parts_are_put_in_order_and_repeats_dropped(tmp_path: Path) -> None:
    cy: list[Row] = [{"learner": "cy", "step": 1, "concept": "5"}, {"learner": "cy", "step": 2, "concept": "6"}]
    first = write_part(tmp_path / "a", [(2, cy), (-1, [{"learner": "x", "step": 0}])])
    ann: list[Row] = [{"learner": 'ä"n', "step": 0}]
    second = write_part(tmp_path / "b", [(0, ann), (2, cy), (-1, [{"learner": "y", "step": 0}])])
    assert merge([first, second], tmp_path / "all", COLUMNS, OPTIONAL) == 4
    header, *rows = read(tmp_path / "all")
    assert header == ["learner", "step", "concept", "name", "predicted_success", "expected_gain", "serves"]
    assert [(row[0], row[1]) for row in rows] == [('ä"n', "0"), ("cy", "1"), ("cy", "2"), ("x", "0"), ("y", "0")]


def test_the_column_of_questions_is_there_where_one_process_had_any(tmp_path: Path) -> None:
    first = write_part(tmp_path / "a", [(1, [{"learner": "x", "step": 0}])])
    second = write_part(tmp_path / "b", [(0, [{"learner": "y", "step": 1, "item": "q"}])])
    merge([first, second], tmp_path / "all", COLUMNS, OPTIONAL)
    header, *rows = read(tmp_path / "all")
    assert header == [name for name in COLUMNS if name != "question"]
    assert [row[4] for row in rows] == ["q", ""]


def test_the_wording_of_questions_stands_on_one_line() -> None:
    rollout = taught([[0, 2], [1, -1]])
    session = replace(rollout.session, item=torch.tensor([[1, 0], [7, PAD]]))
    rollout = replace(rollout, session=session)
    (first, second), (other,) = path_rows(rollout, [], ["q", "r"], texts=["What  is\nnull?", "Why?"])
    assert (first["question"], second["question"]) == ("Why?", "What is null?")
    assert "question" not in other


def test_no_learner_gives_the_header_alone(tmp_path: Path) -> None:
    assert merge([write_part(tmp_path / "a", [])], tmp_path / "all", COLUMNS, OPTIONAL) == 0
    assert len(read(tmp_path / "all")) == 1
