"""Are labels and relations read from every kind of file, joined to the right answers, and wrong ones refused?"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from lpr_lightning.distilled_files import load_concept_relations, load_mastery_labels
from lpr_lightning.errors import DataError, MissingFileError, SettingError
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.types import InteractionBatch, Interactions

CONCEPTS = {"adding": 0, "12": 1, "taking away": 2}
ROWS: list[dict[str, object]] = [
    {"learner": 1, "step": 4, "concept": "12", "mastery": 0.25, "confidence": 0.5},
    {"learner": 0, "step": 2, "concept": "adding", "mastery": 1.0, "confidence": 1.0},
]


def written(folder: Path, rows: list[dict[str, object]], suffix: str) -> Path:
    path = folder / f"labels{suffix}"
    table = pd.DataFrame(rows)
    match suffix:
        case ".parquet":
            table.to_parquet(path)
        case ".csv":
            table.to_csv(path, index=False)
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_labels_are_read_in_order(suffix: str, tmp_path: Path) -> None:
    labels = load_mastery_labels(written(tmp_path, ROWS, suffix), CONCEPTS)
    assert labels.learner.tolist() == [0, 1]
    assert labels.step.tolist() == [2, 4]
    assert labels.concept.tolist() == [0, 1]
    assert labels.mastery.tolist() == [1.0, 0.25]
    assert labels.confidence.tolist() == [1.0, 0.5]


def test_levels_become_mastery_and_confidence(tmp_path: Path) -> None:
    row: dict[str, object] = {"learner": 0, "step": 1, "concept": "adding"}
    levels: dict[str, object] = {"level_0": 0.0, "level_1": 0.5, "level_2": 0.5, "level_3": 0.0, "level_4": 0.0}
    labels = load_mastery_labels(written(tmp_path, [row | levels], ".csv"), CONCEPTS)
    assert labels.mastery.tolist() == pytest.approx([0.375])
    assert labels.confidence.tolist() == pytest.approx([1 - 0.6931472 / 1.6094379])


def test_labels_join_the_windows_of_their_learners(tmp_path: Path) -> None:
    log = Interactions.from_lists([[(0, 1)] * 3, [(1, 0)] * 7])
    examples = NextAnswers(max_length=4).examples(log, "train", 3, 0)
    batch = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(batch, InteractionBatch)
    assert batch.start is not None
    assert batch.start.tolist() == [0, 0, 4]
    rows: list[dict[str, object]] = [
        {"learner": learner, "step": step, "concept": "adding", "mastery": 0.5}
        for learner, step in ((0, 1), (0, 3), (1, 3), (1, 4), (1, 6), (2, 1))
    ]
    number, row, step = load_mastery_labels(written(tmp_path, rows, ".csv"), CONCEPTS).within(batch)
    assert list(zip(number.tolist(), row.tolist(), step.tolist())) == [(0, 0, 1), (2, 1, 3), (4, 2, 2)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learner": -1}, "whole number"),
        ({"step": 0}, "from 1"),
        ({"step": 1.5}, "whole number"),
        ({"concept": "algebra"}, "no concept"),
        ({"mastery": 1.5}, "from 0 to 1"),
        ({"confidence": -0.5}, "from 0 to 1"),
        ({"mastery": "much"}, "expected a number"),
    ],
    ids=str,
)
def test_wrong_labels_are_refused_with_their_row(change: dict[str, object], message: str, tmp_path: Path) -> None:
    path = written(tmp_path, [ROWS[0], ROWS[1] | change], ".csv")
    with pytest.raises(DataError, match=message) as raised:
        load_mastery_labels(path, CONCEPTS)
    assert "row 2" in str(raised.value)


def test_files_that_hold_no_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        load_mastery_labels(tmp_path / "labels.csv", CONCEPTS)
    with pytest.raises(SettingError, match="parquet"):
        load_mastery_labels(tmp_path / "labels.xlsx", CONCEPTS)
    path = written(tmp_path, [{"learner": 0, "step": 1}], ".csv")
    with pytest.raises(DataError, match="'concept'"):
        load_mastery_labels(path, CONCEPTS)
    path = written(tmp_path, [{"learner": 0, "step": 1, "concept": "adding"}], ".csv")
    with pytest.raises(DataError, match="mastery"):
        load_mastery_labels(path, CONCEPTS)
    path = written(tmp_path, [ROWS[0], ROWS[0]], ".csv")
    with pytest.raises(DataError, match="twice"):
        load_mastery_labels(path, CONCEPTS)
    path = tmp_path / "broken.jsonl"
    path.write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        load_mastery_labels(path, CONCEPTS)


def test_relations_keep_what_is_sure(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"needed": "adding", "needing": "taking away", "confidence": 0.6},
        {"needed": "adding", "needing": "taking away", "confidence": 0.9},
        {"needed": "12", "needing": "adding", "confidence": 0.4},
    ]
    weight = load_concept_relations(written(tmp_path, rows, ".jsonl"), CONCEPTS, 3)
    assert weight.nonzero().tolist() == [[2, 0]]
    assert float(weight[2, 0]) == pytest.approx(0.9)
