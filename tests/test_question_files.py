"""Files of questions in words."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from lpr_lightning.errors import DataError, MissingFileError, SettingError
from lpr_lightning.question_files import load_questions, save_questions
from lpr_lightning.questions import Question, Questions

BOTH = Questions(
    (
        Question("12", "Add 1/2 and 1/3.", (), "5/6", ("Denominator 6.", "3/6 + 2/6."), ("fractions",), ((1, 0),)),
        Question("a b", "Què?\nВторая строка", ("yes", "no"), "no", (), ("fractions", "words")),
    )
)


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    save_questions(tmp_path / "q.jsonl", BOTH)
    read = load_questions(tmp_path / "q.jsonl")
    assert read.questions == BOTH
    assert read.counts == {}


def test_annotations_of_kcqrl(tmp_path: Path) -> None:
    entry = {
        "content": "Choose:\nA: one\nB: two",
        "answer": '["B"]',
        "options": {"A": "one", "B": "two"},
        "step_by_step_solution_list": ["first ", "", " third"],
        "knowledge_concepts_list": ["x", "y", "x"],
        "mapping_step_kc_gpt-4o": "1-1, 3-3, 3-2, 2-1, 9-1, 3-1",
    }
    with gzip.open(tmp_path / "q.json.gz", "wt", encoding="utf-8") as file:
        json.dump({"5": entry}, file)
    read = load_questions(tmp_path / "q.json.gz")
    question = read.questions[0]
    assert (question.name, question.answer, question.steps) == ("5", "B", ("first", "third"))
    assert (question.concepts, question.pairs) == (("x", "y"), ((0, 0), (1, 0), (1, 1)))
    assert question.wording == "Choose:\nA: one\nB: two"
    assert read.counts == {
        "empty steps left out": 1,
        "empty or repeated concepts left out": 1,
        "pairs of no step or no concept left out": 2,
    }


def test_annotations_of_exrec(tmp_path: Path) -> None:
    entry = {
        "question": "1 + 1?",
        "options": None,
        "step_by_step_solution_gpt4o": {"Solution_Steps": ["Add."]},
        "kc_mapping_gpt4o": {"Reasoning": "…", "list_KCs": ["sums"], "mapping_step_KC": "1-1"},
    }
    (tmp_path / "q.json").write_text(json.dumps({"0": entry}))
    question = load_questions(tmp_path / "q.json").questions[0]
    assert question == Question("0", "1 + 1?", (), "", ("Add.",), ("sums",), ((0, 0),))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("q.jsonl", '{"name": "a", "text": "x"}\n{"name": "a", "text": "y"}\n', "two questions are named 'a'"),
        ("q.jsonl", '{"name": "a", "text": "x"}\n{"text": "y"}\n', "row 2, column 'name': a question has no name"),
        ("q.jsonl", '{"name": "a", "text": " "}\n', "question 'a' has no text"),
        ("q.jsonl", '{"name": "a"\n', "row 1: this is no JSON"),
        ("q.jsonl", "[1]\n", "expected a JSON object, got list"),
        ("q.jsonl", '{"name": "a", "text": "x", "steps": "one"}\n', "steps is no list of texts"),
        ("q.jsonl", '{"name": "a", "text": "x", "pairs": [[0]]}\n', "expected pairs of two whole numbers"),
        ("q.json", '{"1": 3}', "question '1': expected an object, got int"),
        ("q.json", '{"1": {"question": "x", "mapping_step_KC": "1:2"}}', "expected pairs such as"),
        ("q.json", "{}", "there is no question in it"),
    ],
)
def test_what_is_no_file_of_questions_is_refused(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        load_questions(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"q\.jsonl was not found"):
        load_questions(tmp_path / "q.jsonl")


def test_questions_that_cannot_be() -> None:
    with pytest.raises(SettingError, match="each concept once"):
        Question("a", "x", concepts=("k", "k"))
    with pytest.raises(SettingError, match="a step below 1 and a concept below 1"):
        Question("a", "x", steps=("s",), concepts=("k",), pairs=((1, 0),))
    with pytest.raises(SettingError, match="each name once"):
        Questions((Question("a", "x"), Question("a", "y")))
    with pytest.raises(SettingError, match="one of concept_names"):
        Questions((Question("a", "x", concepts=("k",)),), ("other",))


@pytest.mark.data
def test_real_annotations() -> None:
    root = Path(os.environ.get("LPR_DATA", "../shared/data")) / "moocradar_C_746997" / "original"
    file = root / "questions_translated_kc_sol_annotated_mapped.json.gz"
    if not file.is_file():
        pytest.skip("needs LPR_DATA")
    read = load_questions(file)
    assert (len(read.questions), len(read.questions.concept_names)) == (550, 2153)  # 2,154 with spaces at their ends
    assert sum(not one.steps for one in read.questions.questions) == 0
