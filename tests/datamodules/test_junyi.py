from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lpr_lightning.datamodules.junyi import LOG, TABLE, ExerciseTable, Junyi
from lpr_lightning.datamodules.prerequisites import clean_edges
from lpr_lightning.datamodules.rows import order_by
from lpr_lightning.datamodules.table import compact
from lpr_lightning.errors import DataError, MissingFileError

ROOT = Path(os.environ.get("LPR_DATA", Path(__file__).parents[3] / "shared" / "data")) / "junyi"
HEADER = (
    "user_id,exercise,problem_type,problem_number,topic_mode,suggested,review_mode,time_done,time_taken,"
    "time_taken_attempts,correct,count_attempts,hint_used,count_hints,hint_time_taken_list,earned_proficiency,points_earned"
)
EXERCISES = (
    "\ufeffname,live,prerequisites,h_position,v_position,creation_date,seconds_per_fast_problem,pretty_display_name,"
    "short_display_name,topic,area\n"
    "add,TRUE,,1,1,2012,3,加,加,sums,arithmetic\n"
    'take,TRUE,"add,add",1,1,2012,3,減,減,sums,arithmetic\n'
    'times,TRUE,"take, times,nowhere",1,1,2012,3,乘,乘,products,arithmetic\n'
    'roots,TRUE,"times,powers",1,1,2012,3,?,?,N/A,N/A\n'
    "powers,TRUE,roots,1,1,2012,3,?,?,products,arithmetic\n"
    "add,FALSE,powers,1,1,2012,3,加,加,sums,arithmetic\n"
)


def row(user: int, exercise: str, time: int, correct: str, hint: str = "false") -> str:
    return f"{user},{exercise},p,1,true,false,false,{time},5,5&3,{correct},2,{hint},0,,false,75"


def write(folder: Path, rows: list[str], encoding: str = "utf-8") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOG).write_text("\n".join([HEADER, *rows]) + "\n", encoding=encoding)
    (folder / TABLE).write_text(EXERCISES, encoding="utf-8")
    return folder


def read(folder: Path, **options: Any) -> Junyi:
    return Junyi(str(folder), cache_dir=str(folder / "cache"), min_answers=1, **options)


ROWS = [
    row(12, "times", 1420714810324490, "true"),
    row(12, "add", 1420714810324480, "false"),
    row(7, "roots", 1420714810324480, "true", "true"),
    row(7, "take", 1420714810324480, "true"),
    row(12, "add", 1420714810324480, "false"),
    row(12, "add", 1420714810324495, "true"),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_answers_come_in_order_of_microseconds(tmp_path: Path, encoding: str) -> None:
    data = read(write(tmp_path, ROWS, encoding))
    table = data._loaded()
    assert table.learners == ["7", "12"]
    assert data.concept_names == ["add", "powers", "roots", "take", "times"]
    assert table.log.concept.squeeze(1).tolist() == [2, 3, 0, 4, 0]
    assert table.log.correct.tolist() == [0, 1, 0, 1, 1]
    assert table.log.time is not None
    assert table.log.time.tolist()[0] == 1420714810324
    assert table.counts["dropped: exact duplicate"] == 1


def test_rows_that_differ_in_what_was_done_are_no_duplicates(tmp_path: Path) -> None:
    moment = 1420714810324480
    answers = [("add", "true"), ("take", "true"), ("add", "false"), ("add", "true"), ("take", "true"), ("add", "false")]
    table = read(write(tmp_path, [row(1, exercise, moment, correct) for exercise, correct in answers]))._loaded()
    assert table.log.correct.tolist() == [1, 1, 0]
    assert table.log.concept.squeeze(1).tolist() == [0, 3, 0]
    assert table.counts["dropped: exact duplicate"] == 3


SECOND = (
    "timestamp_TW,uuid,ucid,upid,problem_number,exercise_problem_repeat_session,is_correct,total_sec_taken,"
    "total_attempt_cnt,used_hint_cnt,is_hint_used,is_downgrade,is_upgrade,level\n"
)
CONTENTS = (
    "ucid,content_pretty_name,content_kind,difficulty,subject,learning_stage,level1_id,level2_id,level3_id,level4_id\n"
    "e1=,加法,Exercise,easy,math,elementary,a,b,t1,d\ne2=,加法,Exercise,easy,math,elementary,a,b,,d\n"
)


def write_second(folder: Path) -> Path:
    rows = [
        ("00:15:00", "u/2=", "e2=", "p3=", "true", "false"),
        ("00:00:00", "u/2=", "e1=", "p1=", "true", "true"),
        ("00:15:00", "u/2=", "e1=", "p1=", "false", "false"),
        ("00:15:00", "u/2=", "e1=", "p1=", "false", "false"),
        ("00:00:00", "u+1=", "e3=", "p9=", "true", "false"),
    ]
    lines = [f"2018-09-01 {time} UTC,{u},{e},{p},1,1,{right},9,1,0,{hint},,,0" for time, u, e, p, right, hint in rows]
    (folder / "Log_Problem.csv").write_text(SECOND + "\n".join(lines) + "\n", encoding="utf-8")
    (folder / "Info_Content.csv").write_text(CONTENTS, encoding="utf-8")
    return folder


def test_the_second_release_is_read_in_its_coarse_time(tmp_path: Path) -> None:
    data = read(write_second(tmp_path))
    table = data._loaded()
    assert data.concept_names == ["加法 (e1=)", "加法 (e2=)", "e3="]
    assert table.learners == ["u+1=", "u/2="]
    assert table.items == ["p1=", "p3=", "p9="]
    assert table.log.concept.squeeze(1).tolist() == [2, 0, 1, 0, 0]
    assert table.log.correct.tolist() == [1, 0, 1, 0, 0]
    assert table.log.time is not None
    assert table.log.time[1:3].tolist() == [1535760000000, 1535760900000]
    assert table.counts["equal time: rows kept in file order"] == 2
    assert table.counts["right, but with a hint"] == 1
    assert data.prerequisites is None
    assert read(tmp_path, hints_are_wrong=False)._loaded().log.correct.tolist() == [1, 1, 1, 0, 0]


def test_topics_of_the_second_release_and_its_log_alone(tmp_path: Path) -> None:
    write_second(tmp_path)
    data = read(tmp_path, concept="topic")
    assert (data.concept_names, data._loaded().counts["dropped: exercise without a topic"]) == (["t1"], 2)
    log = (tmp_path / "Log_Problem.csv").rename(tmp_path / "mine.csv")
    assert Junyi(str(log), cache_dir=str(tmp_path / "c"), min_answers=1).num_concepts == 3
    (tmp_path / "Info_Content.csv").unlink()
    with pytest.raises(MissingFileError, match=r"Info_Content\.csv"):
        Junyi(str(log), cache_dir=str(tmp_path / "c"))


def test_hints_may_be_left_alone(tmp_path: Path) -> None:
    table = read(write(tmp_path, ROWS), hints_are_wrong=False)._loaded()
    assert table.log.correct.tolist() == [1, 1, 0, 1, 1]


def test_prerequisites_are_cleaned_and_cycles_counted(tmp_path: Path) -> None:
    data = read(write(tmp_path, ROWS))
    names = data.concept_names
    edges = data.prerequisites
    assert edges is not None
    assert {(names[a], names[b]) for a, b in edges.tolist()} == {
        ("add", "take"),
        ("take", "times"),
        ("times", "roots"),
        ("powers", "roots"),
        ("roots", "powers"),
        ("powers", "add"),
    }
    counts = data.card().counts
    assert counts["prerequisites dropped: self loop"] == 1
    assert counts["prerequisites within a cycle"] == 6
    assert counts["prerequisites dropped: unknown exercise"] == 1


def test_topics_as_concepts(tmp_path: Path) -> None:
    data = read(write(tmp_path, ROWS), concept="topic")
    table = data._loaded()
    assert data.concept_names == ["products", "sums"]
    assert table.log.concept.squeeze(1).tolist() == [1, 1, 0, 1]
    assert table.counts["dropped: exercise without a topic"] == 1


def test_an_exercise_that_the_table_lacks_is_a_concept(tmp_path: Path) -> None:
    data = read(write(tmp_path, [*ROWS, row(7, "zeta", 5, "true")]))
    assert data.concept_names[-1] == "zeta"
    assert data._loaded().log.concept[0].tolist() == [5]


def test_packed_files_and_test_learners(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    plain = (tmp_path / LOG).read_bytes()
    (tmp_path / f"{LOG}.gz").write_bytes(gzip.compress(plain))
    (tmp_path / LOG).unlink()
    there = tmp_path / "there"
    there.mkdir()
    (there / LOG).write_bytes(plain.replace(b"\n12,", b"\n13,"))
    data = read(tmp_path, test_root=str(there / LOG))
    assert data.interactions("test").learner.tolist() == [2, 3]


@pytest.mark.parametrize("name", [LOG, TABLE])
def test_both_files_are_needed(tmp_path: Path, name: str) -> None:
    (write(tmp_path, ROWS) / name).unlink()
    with pytest.raises(MissingFileError, match=name):
        read(tmp_path)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(1, "add", 5, "maybe"), r"row 8, column 'correct'.*'maybe'"),
        (row(1, "add", 5, "true").replace("1,add", "one,add"), r"row 8, column 'user_id'.*'one'"),
        (row(1, "", 5, "true"), r"row 8, column 'exercise': the cell is empty"),
        (row(1, "add", 10**30, "true"), r"row 8, column 'time_done'"),
        ("1,add", r"row 8: expected 17 cells, got 2"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, bad: str, message: str) -> None:
    write(tmp_path, [*ROWS, bad])
    with pytest.raises(DataError, match=message):
        read(tmp_path)
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_sorting_by_counting_equals_sorting_by_comparing() -> None:
    random = np.random.default_rng(0)
    for top in (3, 70_000, 2**40):
        group, time = random.integers(0, 300, 5000).astype(np.int32), random.integers(-top, top, 5000)
        assert (order_by(group, time) == np.lexsort((time, group))).all()
        codes, distinct = compact(time)
        assert (distinct[codes] == time).all()
        assert (np.diff(distinct) > 0).all()
    assert (order_by(group, np.sort(time)) == np.argsort(group, kind="stable")).all()


@pytest.mark.skipif(not ROOT.is_dir(), reason=f"no real learner data in {ROOT}; LPR_DATA names its folder")
@pytest.mark.data
def test_the_official_table() -> None:
    table = ExerciseTable.read(ROOT / "junyi_Exercise_table.csv.gz")
    assert len(table.names) == 835
    edges, counts = clean_edges(table.edges)
    assert len(edges) == 979
    assert counts == {
        "prerequisites": 979,
        "prerequisites dropped: self loop": 2,
        "prerequisites within a cycle": 3,
    }
