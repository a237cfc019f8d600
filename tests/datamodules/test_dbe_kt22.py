from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lpr_lightning.datamodules.dbe_kt22 import DBEKT22
from lpr_lightning.errors import DataError, MissingFileError

ROOT = Path(os.environ.get("LPR_DATA", Path(__file__).parents[3] / "shared" / "data")) / "dbe_kt22"
FILES = {
    "KCs.csv": '"id","name","description"\n5,Keys,"What a key is,\nin short"\n7,Joins,…\n9,Views,…\n',
    "Question_KC_Relationships.csv": '"id","question_id","knowledgecomponent_id"\n1,30,7\n2,30,5\n3,31,9\n',
    "Questions.csv": 'id,question_rich_text,question_text\n30,"<b>Which</b>","Which, then?"\n31,…,Why?\n32,…,How?\n',
    "Transaction.csv": "id,student_id,question_id,start_time,end_time,answer_state\n"
    "4,2,31,2019-03-02 00:05:00,2019-03-02 00:06:00,true\n"
    "1,2,30,2019-03-02 00:04:00,2019-03-02 00:05:00,false\n"
    "9,2,30,2019-03-02 00:04:00,2019-03-02 00:05:00,false\n"
    "3,1,32,2019-03-02 00:04:00,2019-03-02 00:05:00,true\n"
    "5,1,31,2019-03-02 00:04:00,2019-03-02 00:05:00,true\n",
}


def write(folder: Path, **changes: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(changes.get(name.partition(".")[0], text), encoding="utf-8")
    return folder


def read(folder: Path, **options: Any) -> DBEKT22:
    return DBEKT22(str(folder), cache_dir=str(folder / "cache"), min_answers=1, **options)


def test_answers_and_texts(tmp_path: Path) -> None:
    data = read(write(tmp_path))
    table = data._loaded()
    assert table.learners == ["1", "2"]
    assert data.concept_names == ["Keys", "Joins", "Views"]
    assert table.log.concept.tolist() == [[2, -1], [0, 1], [2, -1]]
    assert table.log.correct.tolist() == [1, 0, 1]
    assert table.log.time is not None
    assert int(table.log.time[2] - table.log.time[1]) == 60_000
    assert data.item_texts == ["Which, then?", "Why?"]
    assert table.counts["dropped: question without a concept"] == 1
    assert table.counts["dropped: exact duplicate"] == 1


def test_rows_that_differ_in_the_answer_are_no_duplicates(tmp_path: Path) -> None:
    log = (
        FILES["Transaction.csv"]
        .replace("9,2,30,2019-03-02 00:04:00,2019-03-02 00:05:00,f", "9,2,30,2019-03-02 00:04:00,,t")
        .replace("talse", "true")
    )
    table = read(write(tmp_path, Transaction=log))._loaded()
    assert table.log.correct.tolist() == [1, 0, 1, 1]
    assert table.counts["dropped: exact duplicate"] == 0


def test_test_root_needs_the_transactions_only(tmp_path: Path) -> None:
    write(tmp_path)
    there = tmp_path / "there"
    there.mkdir()
    (there / "Transaction.csv").write_text(FILES["Transaction.csv"].replace(",2,3", ",8,3"))
    data = read(tmp_path, test_root=str(there))
    assert data.interactions("test").learner.tolist() == [2, 3]


@pytest.mark.parametrize("name", list(FILES))
def test_each_file_is_needed(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(MissingFileError, match=name):
        read(tmp_path)


def test_an_unknown_concept_is_named(tmp_path: Path) -> None:
    write(tmp_path, Question_KC_Relationships="id,question_id,knowledgecomponent_id\n1,30,70\n")
    with pytest.raises(DataError, match=r"row 2, column 'knowledgecomponent_id': '70'"):
        read(tmp_path)


@pytest.mark.skipif(not ROOT.is_dir(), reason=f"no real learner data in {ROOT}; LPR_DATA names its folder")
@pytest.mark.data
def test_the_real_files(tmp_path: Path) -> None:
    shutil.copytree(ROOT, tmp_path / "dbe")
    card = read(tmp_path / "dbe").card()
    assert (card.items, card.concepts) == (212, 98)
    assert card.answers == card.counts["rows read"]
