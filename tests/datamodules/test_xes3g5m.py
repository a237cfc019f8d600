from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lpr_lightning.datamodules.xes3g5m import XES3G5M
from lpr_lightning.errors import DataError, MissingFileError

WIDTH = 8
Answer = tuple[int, int, list[int], int]


def logs() -> dict[int, list[Answer]]:
    """Draw (time, question, concepts, response) of some learners."""
    random = np.random.default_rng(0)
    found = {}
    for learner in range(12):
        length = int(random.integers(3, 30))
        times = (1_500_000_000_000 + np.cumsum(random.integers(1, 10**7, length))).tolist()
        questions = random.integers(0, 20, length).tolist()
        concepts = [[q % 5, *([5 + q % 3] if q % 4 == 0 else [])] for q in questions]
        responses = random.integers(0, 2, length).tolist()
        found[learner] = list(zip(times, questions, concepts, responses, strict=True))
    return found


def row(learner: int, values: dict[str, list[str]], pad: bool) -> str:
    cells = [f'"{",".join(v + ["-1"] * (WIDTH - len(v) if pad else 0))}"' for v in values.values()]
    return ",".join(["0", str(learner), *cells])


def write(folder: Path, level: str, names: bool = True) -> Path:
    """Write the files of one level; the last three learners go to the test file."""
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for learner, answers in logs().items():
        flat: list[dict[str, str]] = []
        for time, question, concepts, response in answers:
            common = {"questions": str(question), "responses": str(response), "timestamps": str(time)}
            cells = (
                [("_".join(map(str, concepts)), 0)]
                if level == "question"
                else [(str(one), int(place > 0)) for place, one in enumerate(concepts)]
            )
            flat += [common | {"concepts": cell, "is_repeat": str(repeat)} for cell, repeat in cells]
        where = "test" if learner > 8 else "train"
        step = len(flat) if where == "test" else WIDTH
        for start in range(0, len(flat), step):
            piece = flat[start : start + step]
            values = {key: [one[key] for one in piece] for key in ("questions", "concepts", "responses", "timestamps")}
            values["selectmasks"] = ["1"] * len(piece)
            if level == "kc":
                values["is_repeat"] = [one["is_repeat"] for one in piece]
            lines[where].append(row(learner, values, where == "train"))
    header = "fold,uid,questions,concepts,responses,timestamps,selectmasks" + (",is_repeat" if level == "kc" else "")
    place, end = ("question_level", "_quelevel") if level == "question" else ("kc_level", "")
    (folder / place).mkdir(parents=True)
    shuffled = np.random.default_rng(1).permutation(lines["train"]).tolist()
    (folder / place / f"train_valid_sequences{end}.csv").write_text("\n".join([header, *shuffled]) + "\n")
    (folder / place / f"test{end}.csv").write_text("\n".join([header, *lines["test"]]) + "\n")
    if names:
        (folder / "metadata").mkdir(exist_ok=True)
        kcs = {str(one): f"KC {one}" for one in range(10)}
        (folder / "metadata" / "kc_routes_map.json").write_text(json.dumps(kcs))
        texts = {str(one): {"content": f"问题 {one}"} for one in range(20)}
        (folder / "metadata" / "questions.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    return folder


def read(folder: Path, root: Path | None = None, **options: Any) -> XES3G5M:
    return XES3G5M(str(root or folder), cache_dir=str(folder / "cache"), min_answers=1, **options)


@pytest.mark.parametrize("level", ["question", "kc"])
def test_pieces_and_repeats_are_put_together(tmp_path: Path, level: str) -> None:
    data = read(write(tmp_path, level))
    table = data._loaded()
    expected = [answer for answers in logs().values() for answer in answers]
    assert table.learners == [str(one) for one in range(12)]
    assert table.log.lengths.tolist() == [len(answers) for answers in logs().values()]
    assert table.log.time is not None
    assert table.log.time.tolist() == [answer[0] for answer in expected]
    assert [int(table.items[one]) for one in table.log.item.tolist()] == [answer[1] for answer in expected]
    cells = [[int(table.concepts[one]) for one in cell if one >= 0] for cell in table.log.concept.tolist()]
    assert cells == [sorted(answer[2]) for answer in expected]
    assert table.log.correct.tolist() == [answer[3] for answer in expected]
    assert data.concept_names == [f"KC {one}" for one in range(10)]
    assert data.item_texts[0] == f"问题 {table.items[0]}"


@pytest.mark.parametrize("level", ["question", "kc"])
def test_a_learner_in_both_files_answered_once(tmp_path: Path, level: str) -> None:
    folder = write(tmp_path, level)
    before = read(folder)._loaded()
    place, end = ("question_level", "_quelevel") if level == "question" else ("kc_level", "")
    train, test = folder / place / f"train_valid_sequences{end}.csv", folder / place / f"test{end}.csv"
    train.write_text(train.read_text() + "".join(test.read_text().splitlines(keepends=True)[1:3]))
    table = read(folder)._loaded()
    assert table.log.item.tolist() == before.log.item.tolist()
    assert table.log.correct.tolist() == before.log.correct.tolist()
    assert table.log.lengths.tolist() == before.log.lengths.tolist()
    twice = table.counts["rows read"] - before.counts["rows read"]
    assert table.counts["dropped: answer of another row of the same learner"] == twice > 0


def test_without_times_whole_rows_tell(tmp_path: Path) -> None:
    file = tmp_path / "test.csv"
    rows = ['7,"1,2,1","3,4,3","0,1,0"', '7,"1,2,1","3,4,3","0,1,0"', '7,"1,2","3,4","0,1"', '7,"1,2","3,4","0,1"']
    file.write_text("\n".join(["uid,questions,concepts,responses", *rows]) + "\n")
    table = read(tmp_path, file)._loaded()
    assert table.log.correct.tolist() == [0, 1, 0, 0, 1, 0, 1]
    assert table.counts["dropped: answer of another row of the same learner"] == 3


def test_context_is_left_out_and_names_are_not_needed(tmp_path: Path) -> None:
    folder = write(tmp_path, "question", names=False)
    file = folder / "question_level" / "test_quelevel.csv"
    lines = file.read_text().splitlines()
    context = lines[1].replace('"' + ",".join(["1"] * lines[1].split('"')[1].count(",")) + ',1"', "!")
    context = context[:-1] if context.endswith("!") else lines[1].rpartition(',"')[0] + ","
    values = lines[1].split('"')[1].count(",") + 1
    file.write_text("\n".join([*lines, context + '"' + ",".join(["-1"] * values) + '"']) + "\n")
    table = read(folder)._loaded()
    assert table.counts["dropped: context that repeats another row"] == values
    assert len(table.log) == sum(map(len, logs().values()))
    assert table.concept_names == table.concepts == [str(one) for one in range(8)]


def test_the_test_file_can_be_the_test_learners(tmp_path: Path) -> None:
    folder = write(tmp_path, "question") / "question_level"
    data = read(
        tmp_path,
        folder / "train_valid_sequences_quelevel.csv",
        test_root=str(folder / "test_quelevel.csv"),
        split=(0.8, 0.2, 0.0),
    )
    assert [data.interactions("train").num_learners, data.interactions("val").num_learners] == [7, 2]
    assert data.interactions("test").num_learners == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="train_valid_sequences_quelevel"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("questions", "concepts", "responses", "message"),
    [
        ("1,2", "3,4", "0", r"row 2, column 'questions': the cell holds 2 values, but responses holds 1"),
        ("1,2", "3,4", "0,2", r"row 2, column 'responses': expected 0, 1 or -1, got 2"),
        ("1,2", "3,4", "0,x", r"row 2, column 'responses': expected whole numbers, got 'x'"),
        ("1,2", "3,y", "0,1", r"row 2, column 'concepts': expected ids, got 'y'"),
        ("1,", "3,4", "0,1", r"row 2, column 'questions': expected ids, got ''"),
    ],
)
def test_a_malformed_cell_is_named(tmp_path: Path, questions: str, concepts: str, responses: str, message: str) -> None:
    file = tmp_path / "test.csv"
    file.write_text(f'uid,questions,concepts,responses\n5,"{questions}","{concepts}","{responses}"\n')
    with pytest.raises(DataError, match=message):
        read(tmp_path, file)
