"""A thousand damaged files: each gives a right table or one clear error, and leaves nothing half-written."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lpr_lightning.datamodules.assist09 import ASSIST09
from lpr_lightning.datamodules.base import LearnerDataModule
from lpr_lightning.datamodules.dbe_kt22 import DBEKT22
from lpr_lightning.datamodules.interactions_csv import InteractionsCSV
from lpr_lightning.datamodules.junyi import Junyi
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.datamodules.xes3g5m import XES3G5M
from lpr_lightning.errors import DataError, LPRError, MissingFileError

ROUNDS = 125
Files = dict[str, str]
Reader = Callable[..., LearnerDataModule]


def assist09() -> Files:
    rows = [f"{9 + 3 * n},{n % 4},{n % 7},{n % 2},{1 + n % 3}_{5 + n % 2},Area_Größe" for n in range(40)]
    return {
        "skill_builder_data_corrected_collapsed.csv": "\n".join(
            ["order_id,user_id,problem_id,correct,skill_id,skill_name", *rows, ""]
        )
    }


def interactions() -> Files:
    rows = [f"l{n % 4},{n},q{n % 7},c{n % 3}_ö,{n % 2}" for n in range(40)]
    return {"interactions.csv": "\n".join(["learner,order,item,concept,correct", *rows, ""])}


def junyi() -> Files:
    rows = [f"{n % 4},e{n % 3},{10**15 + n},{'true' if n % 2 else 'false'},false" for n in range(40)]
    return {
        "junyi_ProblemLog_original.csv": "\n".join(["user_id,exercise,time_done,correct,hint_used", *rows, ""]),
        "junyi_Exercise_table.csv": 'name,prerequisites,topic\ne0,,加\ne1,"e0,e1",加\ne2,"e1",N/A\n',
    }


def dbe() -> Files:
    rows = [f"{n},{n % 4},{n % 3},2019-03-02 00:{n:02}:00,{'true' if n % 2 else 'false'}" for n in range(40)]
    return {
        "Transaction.csv": "\n".join(["id,student_id,question_id,start_time,answer_state", *rows, ""]),
        "KCs.csv": "id,name,description\n1,Keys,…\n2,Joins,…\n",
        "Question_KC_Relationships.csv": "id,question_id,knowledgecomponent_id\n1,0,1\n2,1,2\n3,2,1\n4,2,2\n",
        "Questions.csv": "id,question_text\n0,Why?\n1,How – so?\n2,When?\n",
    }


def xes() -> Files:
    rows = [
        f'0,{n % 4},"1,2,{n},-1","3_4,4,5,-1","0,1,{n % 2},-1","{n},{n + 1},{n + 2},-1","1,1,1,-1"' for n in range(20)
    ]
    return {
        "train_valid_sequences_quelevel.csv": "\n".join(
            ["fold,uid,questions,concepts,responses,timestamps,selectmasks", *rows, ""]
        ),
        "kc_routes_map.json": json.dumps({"3": "Fläche", "4": "x", "5": "y"}),
    }


def junyi_2019() -> Files:
    rows = [
        f"2018-09-01 0{n // 10}:15:00 UTC,u{n % 4}+/=,e{n % 3}=,p{n % 5}=,1,1,"
        + f"{'true' if n % 2 else 'false'},9,1,0,false"
        for n in range(40)
    ]
    header = (
        "timestamp_TW,uuid,ucid,upid,problem_number,exercise_problem_repeat_session,is_correct,total_sec_taken,"
        "total_attempt_cnt,used_hint_cnt,is_hint_used"
    )
    return {
        "Log_Problem.csv": "\n".join([header, *rows, ""]),
        "Info_Content.csv": "ucid,content_pretty_name,level3_id\ne0=,加,t\ne1=,減,t\ne2=,乘,\n",
    }


def marked() -> Files:
    """Return a log as other countries and systems write it."""
    words = ("correct", "hint", "incorrect", "skipped", "0.7")
    rows = [
        f"{n % 4}.0\t{1 + n % 12}/{1 + n % 28}/2011 {n % 12}:05 PM\tq{n % 7}\t[{n % 3}, {3 + n % 2}]\t{words[n % 5]}"
        + '\t"so'
        for n in range(40)
    ]
    return {"interactions.csv": "\n".join(["learner\torder\titem\tconcept\tcorrect\tnote", *rows, ""])}


def three_lines() -> Files:
    learners = [
        f"{n}\n{','.join(str(k % 5) for k in range(n))}\n{','.join(str(k % 2) for k in range(n))}," for n in range(3, 9)
    ]
    return {"interactions.csv": "\n".join([*learners, ""])}


def learner_folder() -> Files:
    header = "timestamp,solving_id,question_id,user_answer,elapsed_time"
    files = {
        f"u{learner}.csv": "\n".join(
            [header, *(f"{1_500_000 + n},{n},q{n % 4},{'abcd'[n % 4]},{n}000" for n in range(12)), ""]
        )
        for learner in range(3)
    }
    questions = (
        "question_id,bundle_id,correct_answer,part,tags\nq0,b0,a,1,1;2\nq1,b0,a,1,2\nq2,b1,c,2,-1\nq3,b2,d,3,3\n"
    )
    return {"questions.csv": questions, **files}


MARKED: dict[str, Any] = {"separator": "\\t", "quoting": False, "right": ["correct"], "wrong": ["incorrect", "hint"]}
FOLDER: dict[str, Any] = {
    "learner": None,
    "learner_files": "u*.csv*",
    "order": "timestamp",
    "item": "question_id",
    "concept": "tags",
}
ANSWERS: dict[str, Any] = {
    "correct": "user_answer",
    "answer_key": "correct_answer",
    "questions": "questions.csv",
    "missing": ["-1", "NA"],
}

READERS: dict[str, tuple[Reader, Callable[[], Files]]] = {
    "assist09": (ASSIST09, assist09),
    "interactions": (InteractionsCSV, interactions),
    "marked": (partial(InteractionsCSV, **MARKED, no_answer="skipped", partial_credit="drop"), marked),
    "three_lines": (partial(InteractionsCSV, layout="three_lines"), three_lines),
    "learner_folder": (partial(InteractionsCSV, **FOLDER, **ANSWERS, concept_separator=";"), learner_folder),
    "junyi": (Junyi, junyi),
    "junyi_2019": (Junyi, junyi_2019),
    "dbe": (DBEKT22, dbe),
    "xes": (XES3G5M, xes),
}


def separator(text: str) -> str:
    """Return what separates the columns of a file."""
    return "\t" if "\t" in text.partition("\n")[0] else ","


def cell(draw: random.Random, text: str) -> str:
    """Put something else into one cell."""
    lines = text.split("\n")
    at = draw.randrange(len(lines))
    mark = separator(text)
    cells = lines[at].split(mark)
    odd = [
        "",
        "NA",
        "-1",
        "-99999",
        "1e3",
        "0.5",
        "2",
        "nan",
        "9" * 30,
        "x" * 5000,
        '"',
        "\x00",
        "1.0",
        "true",
        "-0",
        "ß",
        "\t",
        "[1",
        "31/12/2011",
    ]
    cells[draw.randrange(len(cells))] = draw.choice(odd)
    lines[at] = mark.join(cells)
    return "\n".join(lines)


def ragged(draw: random.Random, text: str) -> str:
    """Add or take cells of one row."""
    lines = text.split("\n")
    at = draw.randrange(len(lines))
    mark = separator(text)
    lines[at] = lines[at] + mark + "1" if draw.random() < 0.5 else lines[at].rpartition(mark)[0]
    return "\n".join(lines)


def header(draw: random.Random, text: str) -> str:
    """Rename, repeat or leave out a column name, or the header."""
    first, _, rest = text.partition("\n")
    mark = separator(text)
    names = first.split(mark)
    at = draw.randrange(len(names))
    kind = draw.randrange(4)
    if kind == 0:
        return rest
    names[at] = ["", names[at] + "s", names[at - 1], f' "{names[at]}" '][kind]
    return mark.join(names) + "\n" + rest


def lines(draw: random.Random, text: str) -> str:
    """Shuffle, repeat, empty or drop lines, or change their ends."""
    first, *rest = text.split("\n")
    kind = draw.randrange(5)
    if kind == 0:
        draw.shuffle(rest)
    elif kind == 1:
        rest = [line for line in rest for _ in range(draw.randrange(3))]
    elif kind == 2:
        rest = [""] * 3 + rest
    elif kind == 3:
        return "\r\n".join([first, *rest])
    else:
        rest = []
    return "\n".join([first, *rest])


MUTATIONS = (cell, cell, cell, ragged, header, lines)
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-be", "cp500")


def damage(draw: random.Random, folder: Path, files: Files) -> None:
    """Write the files, one of them changed in what it says, how it is encoded, or how it is packed."""
    chosen = draw.choice(list(files)) if draw.random() < 0.4 else next(iter(files))
    for name, text in files.items():
        if name != chosen:
            (folder / name).write_text(text, encoding="utf-8")
            continue
        for _ in range(draw.randrange(3)):
            text = draw.choice(MUTATIONS)(draw, text)
        content = text.encode(draw.choice(ENCODINGS), errors="replace")
        kind = draw.randrange(8)
        if kind == 0:
            content = content[: draw.randrange(len(content) + 1)]
        elif kind == 1 and content:
            at = draw.randrange(len(content))
            content = content[:at] + draw.randbytes(1) + content[at + 1 :]
        elif kind in (2, 3):
            name += draw.choice([".gz", ".zip"])
            packed = gzip.compress(content)
            content = packed if kind == 2 else packed[: draw.randrange(len(packed))]
        (folder / name).write_bytes(content)


def check(table: AnswerTable, timed: bool = True) -> None:
    """What any right table fulfils; `timed`: answers come in the order of their times."""
    log = table.log
    assert len(log) == int(log.offsets[-1]) == len(log.correct) == len(log.concept) > 0
    assert len(table.learners) == log.num_learners
    assert bool((log.lengths > 0).all())
    assert bool((log.concept[:, 0] >= 0).all())
    assert int(log.concept.max()) < len(table.concepts) == len(table.concept_names)
    assert 0 <= int(log.item.min()) <= int(log.item.max()) < len(table.items)
    assert bool((log.correct <= 1).all())
    assert len(set(table.concepts)) == len(table.concepts)
    assert "" not in table.learners
    if timed and log.time is not None:
        learner = torch.arange(log.num_learners).repeat_interleave(log.lengths)
        assert bool((log.time.diff()[learner.diff() == 0] >= 0).all())


def check_error(error: LPRError, folder: Path) -> None:
    """What any error fulfils: it names the file, and the row by a number where it names a column."""
    assert isinstance(error, DataError | MissingFileError)
    if isinstance(error, DataError):
        assert Path(error.file).is_relative_to(folder)
        assert error.row is None or error.row >= 1
        assert error.column is None or error.row is not None
    else:
        assert Path(error.folder) == folder


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_right_or_refused(tmp_path: Path, name: str) -> None:
    reader, generate = READERS[name]
    messages: list[str] = []
    left: list[Path] = []
    for seed in range(ROUNDS):
        folder, cache = tmp_path / str(seed), tmp_path / f"cache{seed}"
        folder.mkdir()
        damage(random.Random(seed), folder, generate())
        try:
            data = reader(str(folder), cache_dir=str(cache), min_answers=1)
        except LPRError as error:
            messages.append(str(error))
            check_error(error, folder)
            left += [path for path in cache.rglob("*") if path.suffix == ".safetensors" or path.name.startswith(".")]
        else:
            check(data._loaded(), timed=name != "xes")  # a piece keeps the order of the file
    assert 10 <= len(messages) <= ROUNDS - 10
    assert max(map(len, messages)) < 1500
    assert left == []


def test_there_are_a_thousand() -> None:
    assert ROUNDS * len(READERS) >= 1000


@pytest.mark.parametrize("name", READERS)
def test_the_undamaged_file_is_read(tmp_path: Path, name: str) -> None:
    reader, generate = READERS[name]
    for file, text in generate().items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    check(reader(str(tmp_path), cache_dir=str(tmp_path / "cache"), min_answers=1)._loaded())
