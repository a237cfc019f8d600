"""DBE-KT22: a university course on databases, with the questions' English wording."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lpr_lightning.datamodules.columns import Columns, quoted
from lpr_lightning.datamodules.delimited import read_columns
from lpr_lightning.datamodules.files import FileDataModule
from lpr_lightning.datamodules.rows import answer_numbers, merge_rows
from lpr_lightning.datamodules.source import find_file, folder_of, optional_file
from lpr_lightning.datamodules.table import AnswerTable, build_table, concept_matrix, natural_key, readable
from lpr_lightning.errors import DataError
from lpr_lightning.questions import Question, Questions
from lpr_lightning.types import PAD

LOG = "Transaction.csv"
OTHERS = {"concepts": "KCs.csv", "links": "Question_KC_Relationships.csv", "questions": "Questions.csv"}
CHOICES = "Question_Choices.csv"
ADVICE = "get DBE-KT22 from https://doi.org/10.26193/6DZWOH and give the folder of its CSV files as --data.root"


class DBEKT22(FileDataModule):
    """Answers of `Transaction.csv` in the order of `start_time`, ties by `id`; an answer is on all concepts of its
    question (`Question_KC_Relationships.csv`), which are those of `KCs.csv`; `item_texts` is `question_text` of
    `Questions.csv`. Answers to questions without a concept are dropped, exact duplicates removed, and counted.

    Args:
        root: folder of the four files (plain, .gz or .zip), or `Transaction.csv` itself.
        test_root: folder (or `Transaction.csv`) of learners who are all test learners; the others may be missing there.
        common: see `LearnerDataModule`.
    """

    def find(self, root: str) -> dict[str, Path]:
        """Return the four files."""
        files = {"log": find_file(root, (LOG,), ADVICE)}
        for role, name in OTHERS.items():
            own = optional_file(folder_of(root), (name,))
            files[role] = own or find_file(folder_of(self.root), (name,), ADVICE)
        return files

    def read_questions(self) -> Questions:
        """Return the questions with all their concepts and, where `Question_Choices.csv` is there, its options."""
        files = self.find(self.root)
        concepts, _ = _concepts(files["concepts"])
        links, texts = _links(files["links"], concepts), _texts(files["questions"])
        choices = optional_file(folder_of(self.root), (CHOICES,))
        options = {} if choices is None else _options(choices)
        return Questions(
            tuple(
                Question(
                    name=name,
                    text=texts.get(name, "").strip(),
                    options=tuple(one for one, _ in options.get(name, [])),
                    answer="; ".join(one for one, right in options.get(name, []) if right),
                    concepts=tuple(self.concept_names[number] for number in links.get(name, [])),
                )
                for name in self.item_names
            ),
            tuple(self.concept_names),
        )

    def parse(self, files: dict[str, Path]) -> AnswerTable:
        """Read the four files."""
        concepts, names = _concepts(files["concepts"])
        links = _links(files["links"], concepts)
        texts = _texts(files["questions"])
        columns = read_columns(files["log"], ("id", "student_id", "question_id", "start_time", "answer_state"))
        return _table(columns, concepts, names, links, texts)


def _concepts(path: Path) -> tuple[list[str], list[str]]:
    """Return the ids and the names of the concepts."""
    columns = read_columns(path, ("id", "name"))
    pairs = dict(zip(columns.ids("id"), columns.cells("name"), strict=True))
    if not pairs:
        raise DataError(path, "there is no row below the header")
    ids = sorted(pairs, key=natural_key)
    return ids, readable([pairs[one] for one in ids], ids)


def _links(path: Path, concepts: list[str]) -> dict[str, list[int]]:
    """Return the concepts of each question."""
    columns = read_columns(path, ("question_id", "knowledgecomponent_id"))
    number = {name: place for place, name in enumerate(concepts)}
    links: dict[str, set[int]] = {}
    questions, parts = columns.ids("question_id"), columns.ids("knowledgecomponent_id")
    for row, (question, concept) in enumerate(zip(questions, parts, strict=True)):
        if concept not in number:
            raise columns.error("knowledgecomponent_id", row, f"{quoted(concept)} is no id of {OTHERS['concepts']}")
        links.setdefault(question, set()).add(number[concept])
    return {question: sorted(found) for question, found in links.items()}


def _texts(path: Path) -> dict[str, str]:
    columns = read_columns(path, ("id", "question_text"))
    return dict(zip(columns.ids("id"), columns.cells("question_text"), strict=True))


def _options(path: Path) -> dict[str, list[tuple[str, bool]]]:
    """Return the options of each question in the order of the file, and whether each is right; empty ones left out."""
    columns = read_columns(path, ("question_id", "choice_text", "is_correct"))
    right = columns.answers("is_correct")
    found: dict[str, list[tuple[str, bool]]] = {}
    for question, text, value in zip(columns.ids("question_id"), columns.cells("choice_text"), right.tolist()):
        if text.strip():
            found.setdefault(question, []).append((text.strip(), bool(value)))
    return found


def _table(
    columns: Columns, concepts: list[str], names: list[str], links: dict[str, list[int]], texts: dict[str, str]
) -> AnswerTable:
    """Sort the answers and look up their concepts."""
    student, students = columns.required_names("student_id")
    question, questions = columns.required_names("question_id")
    moments = columns.moments("start_time")
    time = moments.values
    correct = columns.answers("answer_state")
    cells = concept_matrix([links.get(name, []) for name in questions])

    rows = np.argsort(columns.integers("id"), kind="stable")
    keep = rows[(cells[question[rows]] != PAD).any(1)] if len(rows) else rows
    counts = {"rows read": len(columns), "dropped: question without a concept": len(columns) - len(keep)}
    number = answer_numbers(time[keep], student[keep], question[keep], correct[keep])
    found = merge_rows(student[keep], number, question[keep], correct[keep], question[keep], cells, len(concepts))
    chosen = keep[found.row]
    return build_table(
        student[chosen],
        students,
        question[chosen],
        questions,
        found.concept,
        concepts,
        names,
        correct[chosen],
        time=moments.milliseconds()[chosen],
        counts=counts | found.counts,
        texts=texts,
    )
