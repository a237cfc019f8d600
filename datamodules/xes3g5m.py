"""XES3G5M: mathematics of primary school, question-level or KC-level sequence files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from lpr_lightning.datamodules.files import FileDataModule
from lpr_lightning.datamodules.sequences import read_sequences, sequences_table
from lpr_lightning.datamodules.source import SUFFIXES, find_file, folder_of, open_source, optional_file
from lpr_lightning.datamodules.table import AnswerTable, readable
from lpr_lightning.errors import DataError
from lpr_lightning.questions import Question, Questions

LEVELS = (
    ("train_valid_sequences_quelevel.csv", "test_quelevel.csv"),
    ("train_valid_sequences.csv", "test.csv"),
)
NAMES = "kc_routes_map.json"
QUESTIONS = "questions.json"
ADVICE = "get it from https://github.com/ai4ed/XES3G5M and give the folder of its files as --data.root"


class XES3G5M(FileDataModule):
    """Answers of question-level sequence files (`train_valid_sequences_quelevel.csv`, `test_quelevel.csv`) or, where
    there are none, of KC-level ones (`train_valid_sequences.csv`, `test.csv`); both give the same answers.

    The pieces of one learner are put back together, `-1` padding and repeated context (`selectmasks` = -1) are left
    out, and the rows of one answer (`is_repeat` = 1) become one interaction on several concepts. The published division
    into train and test is not used: learners are split by `split` (give the test file as `test_root` to use it).

    Args:
        root: folder of the data set, or one sequence file. Names come from `metadata/kc_routes_map.json` and the
            questions' wording (`item_texts`) from `metadata/questions.json` where they are there.
        test_root: folder or sequence file of learners who are all test learners.
        common: see `LearnerDataModule`.
    """

    def find(self, root: str) -> dict[str, Path]:
        """Return the sequence files of one level, and the metadata where it is there."""
        for train, test in LEVELS:
            files = {
                "train": optional_file(root, (train,)),
                "test": optional_file(root, (test,)) if folder_of(root) == Path(root).expanduser() else None,
            }
            if any(files.values()):
                break
        else:
            find_file(root, tuple(name for level in LEVELS for name in level), ADVICE)
        for role, name in (("names", NAMES), ("questions", QUESTIONS)):
            files[role] = _metadata(root, name) or _metadata(self.root, name)
        return {role: path for role, path in files.items() if path is not None}

    def read_questions(self) -> Questions:
        """Return the questions with the options and answers of `questions.json`, where it is there."""
        plain = super().read_questions()
        files = self.find(self.root)
        entries = _read_json(files["questions"]) if "questions" in files else {}
        return replace(plain, questions=tuple(_with_options(one, entries.get(one.name)) for one in plain.questions))

    def parse(self, files: dict[str, Path]) -> AnswerTable:
        """Read the files."""
        pieces = [read_sequences(files[role]) for role in ("train", "test") if role in files]
        names = {} if "names" not in files else {key: str(value) for key, value in _read_json(files["names"]).items()}
        table = sequences_table(pieces, list(names))
        titles = readable([names.get(one, "") for one in table.concepts], table.concepts)
        texts: list[str] = []
        if "questions" in files:
            questions = _read_json(files["questions"])
            texts = [_content(questions.get(item)) for item in table.items]
        return replace(table, concept_names=titles, item_texts=texts)


def _metadata(root: str, name: str) -> Path | None:
    """Return a metadata file in the folder of `root`, or in `metadata` beside it."""
    folder = folder_of(root)
    for place in (folder, folder / "metadata", folder.parent / "metadata"):
        found = next((path for path in (place / (name + end) for end in SUFFIXES) if path.is_file()), None)
        if found is not None:
            return found
    return None


def _read_json(path: Path) -> dict[str, object]:
    with open_source(path) as file:
        content = file.read()
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(path, "the text is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(path, f"this is no JSON ({error.msg})", row=error.lineno) from error
    if not isinstance(value, dict):
        raise DataError(path, "expected a JSON object with one entry for each id")
    return value


def _with_options(question: Question, entry: object) -> Question:
    """Return a question with the options and the answer of its entry."""
    if not isinstance(entry, dict):
        return question
    options, answer = entry.get("options"), entry.get("answer")
    listed = list(options.values()) if isinstance(options, dict) else options if isinstance(options, list) else []
    given = answer if isinstance(answer, list) else [] if answer is None else [answer]
    return replace(
        question,
        options=tuple(str(one).strip() for one in listed if str(one).strip()),
        answer=", ".join(str(one) for one in given),
    )


def _content(question: object) -> str:
    return str(question.get("content", "")) if isinstance(question, dict) else ""
