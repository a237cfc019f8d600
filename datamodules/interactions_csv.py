"""Anyone's own answer log: one delimited file whose columns are named by arguments."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lpr_lightning.datamodules.base import recorded
from lpr_lightning.datamodules.columns import Columns
from lpr_lightning.datamodules.delimited import read_columns
from lpr_lightning.datamodules.files import FileDataModule
from lpr_lightning.datamodules.rows import MergedRows, answer_numbers, merge_rows
from lpr_lightning.datamodules.source import find_file
from lpr_lightning.datamodules.table import AnswerTable, Array, build_table, concept_matrix, natural_key, readable
from lpr_lightning.errors import DataError, SettingError
from lpr_lightning.types import PAD

_MILLISECONDS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}


class InteractionsCSV(FileDataModule):
    """Reads one row for each answer (or for each answer and concept) from a delimited file, plain, .gz or .zip.

    Rows that share learner, order and item are one answer on several concepts; exact duplicates are removed; rows
    without a concept are dropped; all is counted. Where `order` is null the order of the file counts and every row is
    an answer of its own.

    Args:
        root: the file, or a folder that holds `file`.
        file: name of the file within `root`.
        learner: column of the learner's name.
        order: column to sort a learner's answers by: numbers or dates; null where the file is in order.
        item: column of the question; null where there is none (the concepts then stand for it).
        concept: column of the concept or concepts.
        correct: column of the answer: 0 or 1, true or false.
        time: column of the time of the answer, dates or numbers in `time_unit`; null where there is none.
        time_unit: unit of a numeric `time`: s, ms, us or ns.
        concept_separator: what joins several concepts in a cell; null where a cell is always one concept.
        separator: what separates the columns.
        encoding: of the text.
        test_root: the same for learners who are all test learners.
        common: see `LearnerDataModule`.
    """

    def __init__(
        self,
        root: str,
        file: str = "interactions.csv",
        learner: str = "learner",
        order: str | None = "order",
        item: str | None = "item",
        concept: str = "concept",
        correct: str = "correct",
        time: str | None = None,
        time_unit: Literal["s", "ms", "us", "ns"] = "ms",
        concept_separator: str | None = "_",
        separator: str = ",",
        encoding: str = "utf-8",
        test_root: str | None = None,
        **common: Any,
    ) -> None:
        given = recorded(locals())
        if len(separator) != 1 or separator in '"\r\n' or not separator.isascii():
            raise SettingError("separator", separator, "one character, such as , or ; or a tab")
        if concept_separator == "":
            raise SettingError("concept_separator", concept_separator, "some text, or null")
        if time_unit not in _MILLISECONDS:
            raise SettingError("time_unit", time_unit, "s, ms, us or ns")
        try:
            codecs.lookup(encoding)
        except LookupError as error:
            raise SettingError("encoding", encoding, "the name of a text encoding, such as utf-8 or latin-1") from error
        self.file = file
        self.columns = {"learner": learner, "concept": concept, "correct": correct}
        self.columns |= {
            role: name for role, name in (("order", order), ("item", item), ("time", time)) if name is not None
        }
        self.time_unit = time_unit
        self.concept_separator = concept_separator
        self.separator = separator
        self.encoding = encoding
        super().__init__(root=root, test_root=test_root, **common)
        self.save_hyperparameters(given, logger=False)

    def options(self) -> list[object]:
        """Return the reading options."""
        return [self.columns, self.time_unit, self.concept_separator, self.separator, self.encoding]

    def find(self, root: str) -> dict[str, Path]:
        """Return the file."""
        return {"log": find_file(root, (self.file,), "give the file itself as --data.root, or its name as --data.file")}

    def parse(self, files: dict[str, Path]) -> AnswerTable:
        """Read the file."""
        wanted = list(dict.fromkeys(self.columns.values()))
        try:
            columns = read_columns(files["log"], wanted, (), self.encoding, self.separator)
        except DataError as error:
            roles = {name: role for role, name in self.columns.items()}
            if error.column in roles and "missing" in error.problem:
                role = roles[error.column]
                advice = f"; name another with --data.{role}" + (
                    ", or null" if role in ("order", "item", "time") else ""
                )
                raise DataError(files["log"], error.problem + advice, row=1, column=error.column) from error
            raise
        return self._answers(columns)

    def _answers(self, columns: Columns) -> AnswerTable:
        learner, learners = columns.required_names(self.columns["learner"])
        correct = columns.answers(self.columns["correct"])
        cell, cells, concepts = self._concepts(columns)
        if "item" in self.columns:
            item, items = columns.required_names(self.columns["item"])
        else:
            item, items = columns.names(self.columns["concept"])
        time = self._time(columns)
        keep = np.flatnonzero((cells[cell] != PAD).any(1))
        counts = {"rows read": len(columns), "dropped: no concept": len(columns) - len(keep)}
        if "order" in self.columns:
            order = columns.moments(self.columns["order"])[0][keep]
            answer = answer_numbers(order, item[keep])
            found = merge_rows(learner[keep], answer, item[keep], correct[keep], cell[keep], cells, len(concepts))
        else:
            found = MergedRows(np.arange(len(keep)), cells[cell[keep]], {})
        rows = keep[found.row]
        return build_table(
            learner[rows],
            learners,
            item[rows],
            items,
            found.concept,
            concepts,
            readable([""] * len(concepts), concepts),
            correct[rows],
            time=None if time is None else time[rows],
            counts=counts | found.counts,
        )

    def _concepts(self, columns: Columns) -> tuple[Array, Array, list[str]]:
        """Return the cell of each row, the concepts of each distinct cell [cells, C], and the concepts' names."""
        codes, texts = columns.names(self.columns["concept"])
        separator = self.concept_separator
        split = [[text] if separator is None else text.split(separator) for text in texts]
        clean = [sorted({part.strip() for part in parts} - {""}, key=natural_key) for parts in split]
        concepts = sorted({part for parts in clean for part in parts}, key=natural_key)
        number = {name: position for position, name in enumerate(concepts)}
        return codes, concept_matrix([[number[part] for part in parts] for parts in clean]), concepts

    def _time(self, columns: Columns) -> Array | None:
        """Return the times in milliseconds."""
        if "time" not in self.columns:
            return None
        values, dates = columns.moments(self.columns["time"])
        scaled = values / 1e3 if dates else values * _MILLISECONDS[self.time_unit]
        return np.round(scaled).astype(np.int64)
