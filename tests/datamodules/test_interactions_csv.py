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
    rows = "a,1,q1,x,1,s\na,1,q1,y,1,s\na,1,q1,y,1,s\na,1,q2,x,0,s\na,2,q1,x,1,s\n"
    table = read(tmp_path, COMMON.replace("\n", ",step\n") + rows, attempt="step")
    assert [table.items[one] for one in table.log.item.tolist()] == ["q1", "q2", "q1"]
    assert table.log.concept.tolist() == [[0, 1], [0, -1], [0, -1]]
    assert table.counts["dropped: exact duplicate"] == 1
    assert table.counts["merged: further concept of the same answer"] == 1


def test_without_order_and_item_the_file_counts(tmp_path: Path) -> None:
    table = read(tmp_path, "learner,concept,correct\nb,x,1\na,y,0\nb,x,1\nb,,1\n", order=None, item=None)
    assert table.log.concept.squeeze(1).tolist() == [1, 0, 0]
    assert table.counts == {"rows read": 4, "dropped: no concept": 1}


def test_equal_orders_are_no_duplicates(tmp_path: Path) -> None:
    rows = ["b,1,p,x,1", "b,1,q,y,0", "b,1,p,x,1", "a,1,q,y,1", "a,1,p,x,1", "a,1,p,y,0", "b,1,p,y,1"]
    table = read(tmp_path, COMMON + "\n".join(rows))
    names = [table.items[one] for one in table.log.item.tolist()]
    assert names == ["q", "p", "p", "p", "q", "p"]  # the order of each learner's own rows
    assert table.log.concept.tolist() == [[1, -1], [0, -1], [1, -1], [0, 1], [1, -1], [0, -1]]
    assert table.log.correct.tolist() == [1, 1, 0, 1, 0, 1]
    assert table.counts["equal order: rows kept in file order"] == 4
    assert table.counts["merged: further concept of the same answer"] == 1


def test_a_clock_of_days_keeps_every_answer(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    concepts, answers = draw.integers(0, 3, 200), draw.integers(0, 2, 200)
    rows = [f"{n // 50},2024-01-0{1 + n % 50 // 10},c{concepts[n]},{answers[n]}" for n in range(200)]
    text = "learner,order,concept,correct\n" + "\n".join(rows)
    table = read(tmp_path, text, item=None)
    assert table.log.correct.tolist() == answers.tolist()
    assert table.log.concept.squeeze(1).tolist() == concepts.tolist()
    assert table.counts["equal order: rows kept in file order"] == 180


@pytest.mark.parametrize("word", ["NA", "nan", "None", "NULL", "", "n/a", "<NA>"])
def test_a_missing_concept_is_dropped_and_a_missing_learner_named(tmp_path: Path, word: str) -> None:
    table = read(tmp_path, COMMON + f"a,1,q,{word},1\na,2,q,x,1\n")
    assert (table.concepts, table.counts["dropped: no concept"]) == (["x"], 1)
    with pytest.raises(DataError, match=r"row 3, column 'learner': .*(empty|missing value)"):
        read(tmp_path, COMMON + f"a,1,q,x,1\n{word},2,q,x,1\n")
    with pytest.raises(DataError, match=r"row 2, column 'correct'"):
        read(tmp_path, COMMON + f"a,1,q,x,{word}\n")
    if word:
        assert read(tmp_path, COMMON + f"a,1,q,{word},1\na,2,q,-,1\n", missing="-").concepts == [word]


def test_ids_are_the_same_with_and_without_a_fraction(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text(COMMON + "9.0,1,7,3,1\n9,2,7,0,0\n9,3,7,4,0\n")
    path = tmp_path / "interactions.csv"
    rows = "1,1,7.0,0.0,1\n1.0,2,7,3.0,0\n2,1,1e+05,,1\n2,2,100000,3.0,0\n01,1,7,0.0,1\n"
    path.write_text(COMMON + rows)
    data = InteractionsCSV(
        str(path), test_root=str(tmp_path / "test.csv"), cache_dir=str(tmp_path / "c"), min_answers=1
    )
    assert data.concept_names == ["0", "3"]
    assert data._loaded().learners == ["01", "1", "2"]
    assert data.item_names == ["7", "100000"]
    test = data.interactions("test")
    assert (test.concept.squeeze(1).tolist(), test.correct.tolist()) == ([1, 0], [1, 0])
    assert data.card().counts["test set: dropped: concept not in the training set"] == 1


def test_a_test_set_that_becomes_empty_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text(COMMON + "t,1,q,other,1\n")
    (tmp_path / "interactions.csv").write_text(COMMON + "a,1,q,x,1\nb,1,q,x,1\n")
    data = InteractionsCSV(
        str(tmp_path), test_root=str(tmp_path / "test.csv"), cache_dir=str(tmp_path / "c"), min_answers=1
    )
    with pytest.raises(DataError, match=r"test\.csv\): no answer .* concepts are other; those of training are x"):
        data.setup("fit")


def test_cells_are_split_only_where_it_is_said(tmp_path: Path) -> None:
    text = COMMON + "a,1,q,similar_triangles_0,1\na,2,r,similar_triangles_1,1\n"
    assert read(tmp_path, text).concepts == ["similar_triangles_0", "similar_triangles_1"]
    assert read(tmp_path, text, concept_separator="_").concepts == ["0", "1", "similar", "triangles"]


def test_a_cell_may_be_a_list(tmp_path: Path) -> None:
    rows = "a,1,q,\"[3, 71, 91]\",1\na,2,r,\"['x', 'NA']\",1\na,3,r,[draft],1\na,4,r,[],1\n"
    table = read(tmp_path, COMMON + rows)
    assert table.concepts == ["3", "71", "91", "[draft]", "x"]
    assert table.log.concept.tolist() == [[0, 1, 2], [4, -1, -1], [3, -1, -1]]
    assert table.counts["split: concepts listed in brackets"] == 3
    assert table.counts["dropped: no concept"] == 1


@pytest.mark.parametrize(
    ("typed", "mark"), [("\\t", "\t"), ("\t", "\t"), ("~", "~"), ('"#"', "#"), (";", ";"), ("|", "|")]
)
def test_a_separator_is_taken_as_typed_and_a_wrong_one_named(tmp_path: Path, typed: str, mark: str) -> None:
    text = (COMMON + "a,1,q,x,1\na,2,q,y,0\n").replace(",", mark)
    assert read(tmp_path, text, separator=typed).concepts == ["x", "y"]
    name = "a tab" if mark == "\t" else f"{mark}"
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert f"seem to be separated by {name}, not by ','; give that as --data.separator" in str(caught.value)


def test_a_lone_quote_names_its_row_or_is_text(tmp_path: Path) -> None:
    rows = [f"a,{n},q,x,1,ok" for n in range(50)]
    rows[20] = rows[20].replace("ok", '"never closed')
    text = COMMON.replace("\n", ",note\n") + "\n".join(rows) + "\n"
    problem = r"row 22, column 'note': .* goes on over 29 lines below.*--data.quoting false"
    with pytest.raises(DataError, match=problem):
        read(tmp_path, text)
    assert len(read(tmp_path, text, quoting=False).log) == 50
    rows[40] = rows[40].replace("ok", 'so"')  # a second one closes it
    with pytest.raises(DataError, match=r"row 22, column 'note'"):
        read(tmp_path, COMMON.replace("\n", ",note\n") + "\n".join(rows) + "\n")


def test_line_breaks_within_quotes_are_fine(tmp_path: Path) -> None:
    text = COMMON + '"a\nb, ""c""",1,q,x,1\n\n"a\nb, ""c""",2,q,"y\n\n1,2\nz",0\n\n'
    table = read(tmp_path, text)
    assert table.learners == ['a\nb, "c"']
    assert table.log.correct.tolist() == [1, 0]


def test_dates_of_other_countries(tmp_path: Path) -> None:
    rows = "a,10/9/2011 1:05,q,x,1\na,9/10/2011 1:05 PM,q,y,0\n"
    first = read(tmp_path, COMMON + rows)
    assert first.log.correct.tolist() == [0, 1]
    assert first.counts["assumed: dates of order have the month first (day_first)"] == 2
    second = read(tmp_path, COMMON + rows, day_first=True)
    assert second.log.correct.tolist() == [1, 0]
    assert not any(name.startswith("assumed") for name in second.counts)


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
        ({"learner": None}, "learner"),
        ({"right": "0"}, "right='0'"),
        ({"wrong": ["0", -1], "no_answer": -1}, "wrong='-1'"),
        ({"partial_credit": float("nan")}, "partial_credit"),
        ({"layout": "wide"}, "layout"),
        ({"layout": "three_lines", "learner_files": "*.csv"}, "layout"),
        ({"item": None, "questions": "questions.csv"}, "questions"),
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
    data = InteractionsCSV(str(ROOT), concept="concepts", concept_separator="_", cache_dir=str(tmp_path), min_answers=1)
    card = data.card()
    assert (card.answers, card.learners, card.items, card.concepts) == (222_141, 5_002, 10_779, 188)
    lengths = data._loaded().log.lengths.numpy()
    assert np.median(lengths) == card.median_length
