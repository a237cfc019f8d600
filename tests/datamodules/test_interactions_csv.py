from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lpr_lightning.datamodules.interactions_csv import InteractionsCSV
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.errors import DataError, MissingFileError, SettingError

ROOT = Path(os.environ.get("LPR_DATA", Path(__file__).parents[3] / "shared" / "data")) / "ednet_kt1_sample"
COMMON = "learner,order,item,concept,correct\n"


def read(tmp_path: Path, text: str | bytes, **options: Any) -> AnswerTable:
    path = tmp_path / "interactions.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return InteractionsCSV(str(tmp_path), cache_dir=str(tmp_path / "cache"), min_answers=1, **options)._loaded()


def test_columns_are_named_by_arguments(tmp_path: Path) -> None:
    text = "who;when;what;about;ok\nbo;2020-01-02;q1;x|y;True\nbo;2020-01-01;q2;y;false\nal;2020-01-01;q1;x|y;0\n"
    table = read(
        tmp_path,
        text,
        learner="who",
        order="when",
        item="what",
        concept="about",
        correct="ok",
        time="when",
        concept_separator="|",
        separator=";",
    )
    assert table.learners == ["al", "bo"]
    assert [table.items[one] for one in table.log.item.tolist()] == ["q1", "q2", "q1"]
    assert table.log.concept.tolist() == [[0, 1], [1, -1], [0, 1]]
    assert table.log.correct.tolist() == [0, 0, 1]
    assert table.log.time is not None
    assert table.log.time.diff()[1] == 86_400_000


def test_rows_of_one_answer_are_one_interaction(tmp_path: Path) -> None:
    rows = "a,1,q1,x,1\na,1,q1,y,1\na,1,q1,y,1\na,1,q2,x,0\na,2,q1,x,1\n"
    table = read(tmp_path, COMMON + rows)
    assert [table.items[one] for one in table.log.item.tolist()] == ["q1", "q2", "q1"]
    assert table.log.concept.tolist() == [[0, 1], [0, -1], [0, -1]]
    assert table.counts["dropped: exact duplicate"] == 1
    assert table.counts["merged: further concept of the same answer"] == 1


def test_without_order_and_item_the_file_counts(tmp_path: Path) -> None:
    table = read(tmp_path, "learner,concept,correct\nb,x,1\na,y,0\nb,x,1\nb,,1\n", order=None, item=None)
    assert table.log.concept.squeeze(1).tolist() == [1, 0, 0]
    assert table.counts == {"rows read": 4, "dropped: no concept": 1}


def test_names_in_another_encoding(tmp_path: Path) -> None:
    text = (COMMON + "jörg,1,q,größe,1\n").encode("latin-1")
    table = read(tmp_path, text, encoding="latin-1")
    assert (table.learners, table.concept_names) == (["jörg"], ["größe"])
    with pytest.raises(DataError, match=r"row 2: the text is not UTF-8 .*name its encoding"):
        read(tmp_path, text)


def test_a_missing_column_says_which_argument_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'order': .* name another with --data.order, or null"):
        read(tmp_path, "learner,item,concept,correct\na,q,x,1\n")


def test_nothing_but_a_header_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no answer is left"):
        read(tmp_path, COMMON)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": "ab"}, "separator"),
        ({"separator": ""}, "separator"),
        ({"encoding": "klingon"}, "encoding"),
        ({"concept_separator": ""}, "concept_separator"),
        ({"time_unit": "years"}, "time_unit"),
    ],
)
def test_settings_are_checked(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        read(tmp_path, COMMON + "a,1,q,x,1\n", **options)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"mine.csv .*--data.root"):
        InteractionsCSV(str(tmp_path), file="mine.csv", cache_dir=str(tmp_path))


@pytest.mark.skipif(not ROOT.is_dir(), reason=f"no real learner data in {ROOT}; LPR_DATA names its folder")
@pytest.mark.data
def test_a_real_table(tmp_path: Path) -> None:
    data = InteractionsCSV(str(ROOT), concept="concepts", cache_dir=str(tmp_path), min_answers=1)
    card = data.card()
    assert (card.answers, card.learners, card.items, card.concepts) == (222_141, 5_002, 10_779, 188)
    lengths = data._loaded().log.lengths.numpy()
    assert np.median(lengths) == card.median_length
