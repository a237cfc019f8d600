"""Anyone's own answer log: delimited text or parquet whose columns are named by arguments."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any, Literal

from lpr_lightning.datamodules.answer_rows import AnswerRows
from lpr_lightning.datamodules.answer_words import AnswerWords, Text
from lpr_lightning.datamodules.base import recorded
from lpr_lightning.datamodules.cells import MISSING
from lpr_lightning.datamodules.columns import Columns
from lpr_lightning.datamodules.delimited import read_columns
from lpr_lightning.datamodules.files import FileDataModule
from lpr_lightning.datamodules.log_forms import LEARNER, learner_files, read_learner_files, read_three_lines
from lpr_lightning.datamodules.source import find_file, folder_of, optional_file
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.errors import DataError, SettingError

_MILLISECONDS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_OPTIONS = (
    *("learner", "order", "item", "concept", "correct", "time", "attempt", "time_unit", "concept_separator"),
    *("separator", "encoding", "quoting", "right", "wrong", "no_answer", "partial_credit", "missing", "day_first"),
    *("layout", "learner_files", "questions", "answer_key"),
)
"""The arguments that change what is read."""
_COLUMNS = ("learner", "order", "item", "concept", "correct", "time", "attempt", "answer_key")
_NULLABLE = ("order", "item", "time", "attempt")


class InteractionsCSV(FileDataModule):
    """Reads one row for each answer, or for each answer and concept, from delimited text (plain, .gz or .zip) or
    parquet.

    Rows of equal learner, order and item on several concepts are one answer. Equal orders are no duplicates: their rows
    stay in the order of the file, unless `attempt` says that one repeats another. Rows without a concept are dropped;
    ids such as `3` and `3.0` are the same. All of it is counted on the card.

    Args:
        root: the file, or a folder that holds `file`.
        file: name of the file within `root`.
        learner: column of the learner's name; null with `learner_files`.
        order: column to sort a learner's answers by: numbers or dates; null where the file is in order.
        item: column of the question, or several that name it together; null for none (the concepts then stand for it).
        concept: column of the concept or concepts; a cell such as `[3, 71]` is a list of them.
        correct: column of the answer, marked by `right`, `wrong` and `no_answer`, or as it was given (`answer_key`).
        time: column of the time of the answer, dates or numbers in `time_unit`; null where there is none.
        attempt: column that differs from one answer to the next of the same learner, order and item, such as a step or
            an attempt; rows that agree in it and in the concept are then duplicates.
        time_unit: unit of a numeric `time`: s, ms, us or ns.
        concept_separator: what joins several concepts in a cell; null where a cell is one concept.
        separator: what separates the columns; `\\t` is a tab.
        encoding: of the text.
        quoting: whether quotes may hold separators and line breaks; without, they are text.
        right: texts of `correct` that mean a right answer; 1 and true when not given. Capitals make no difference.
        wrong: those of a wrong answer, `*` for all others; 0 and false when not given.
        no_answer: those that mean that there is no answer; such rows are dropped.
        partial_credit: what numbers between wrong and right mean: right from this one on, or `drop` the row.
        missing: texts that stand for no value, in any column; the usual ones (NA, NaN, null, …) when not given.
        day_first: whether `9/10/2011` is the 9th of October; null: as other dates of the column show, else not.
        layout: `table`, or `three_lines` for each learner: how many answers, what was asked, and 0 or 1.
        learner_files: one file for each learner, by name below `root`, such as `*.csv`; its name is the learner's.
        questions: a second table within `root` (or beside it) with a row for each question: `item`, `concept` and, if
            it is named, `answer_key` are read there.
        answer_key: column of the right answer; `correct` then holds the answer as given.
        test_root: the same for learners who are all test learners.
        common: see `LearnerDataModule`.
    """

    def __init__(
        self,
        root: str,
        file: str = "interactions.csv",
        learner: str | None = "learner",
        order: str | None = "order",
        item: str | list[str] | None = "item",
        concept: str = "concept",
        correct: str = "correct",
        time: str | None = None,
        attempt: str | None = None,
        time_unit: Literal["s", "ms", "us", "ns"] = "ms",
        concept_separator: str | None = None,
        separator: str = ",",
        encoding: str = "utf-8",
        quoting: bool = True,
        right: Text | list[Text] | None = None,
        wrong: Text | list[Text] | None = None,
        no_answer: Text | list[Text] | None = None,
        partial_credit: float | Literal["drop"] | None = None,
        missing: Text | list[Text] | None = None,
        day_first: bool | None = None,
        layout: Literal["table", "three_lines"] = "table",
        learner_files: str | None = None,
        questions: str | None = None,
        answer_key: str | None = None,
        test_root: str | None = None,
        **common: Any,
    ) -> None:
        separator = _unquoted(separator)
        concept_separator = None if concept_separator is None else _unquoted(concept_separator)
        given = recorded(locals())
        if len(separator) != 1 or separator in '"\r\n' or not separator.isascii():
            raise SettingError("separator", separator, "one character, such as , or ; or \\t")
        if concept_separator == "":
            raise SettingError("concept_separator", concept_separator, "some text, or null")
        if time_unit not in _MILLISECONDS:
            raise SettingError("time_unit", time_unit, "s, ms, us or ns")
        if layout not in ("table", "three_lines"):
            raise SettingError("layout", layout, "table or three_lines")
        try:
            codecs.lookup(encoding)
        except LookupError as error:
            raise SettingError("encoding", encoding, "the name of a text encoding, such as utf-8 or latin-1") from error
        unnamed = layout == "three_lines" or learner_files is not None
        if learner is None and not unnamed:
            raise SettingError("learner", None, "the column of the learner's name", "null is for learner_files")
        if layout == "three_lines" and (learner_files, questions, answer_key) != (None, None, None):
            raise SettingError("layout", layout, "table beside learner_files, questions and answer_key")
        if questions is not None and not isinstance(item, str):
            raise SettingError("questions", questions, "none unless item is one column")
        words = MISSING if missing is None else frozenset(map(str.lower, _texts(missing)))
        three = layout == "three_lines"
        self.rows = AnswerRows(
            learner=LEARNER if unnamed or learner is None else learner,
            concept=concept,
            correct=correct,
            order=None if three else order,
            item=item if not three or item is None else concept,
            time=None if three else time,
            attempt=None if three else attempt,
            answer_key=answer_key,
            words=AnswerWords.of(right, wrong, no_answer, partial_credit),
            concept_separator=concept_separator,
            missing=words | {""},
            milliseconds=_MILLISECONDS[time_unit],
            day_first=day_first,
        )
        self.separator = separator
        self._options = [[name, given[name]] for name in _OPTIONS]
        self.file = file
        self.encoding = encoding
        self.quoting = quoting
        self.layout = layout
        self.learner_files = learner_files
        self.question_table = questions
        super().__init__(root=root, test_root=test_root, **common)
        self.save_hyperparameters(given, logger=False)

    def options(self) -> list[object]:
        """Return the reading options."""
        return list(self._options)

    def find(self, root: str) -> dict[str, Path]:
        """Return the file, or those of the learners, and the table of questions."""
        found: dict[str, Path] = {}
        if self.learner_files is not None:
            files = learner_files(root, self.learner_files)
            found = {f"log {path.relative_to(Path(root).expanduser())}": path for path in files}
        else:
            advice = "give the file itself as --data.root, or its name as --data.file"
            found["log"] = find_file(root, (self.file,), advice)
        if self.question_table is not None:
            advice = "give --data.questions the name of the table of questions, below --data.root"
            here = optional_file(folder_of(root), (self.question_table,))
            found["questions"] = here or find_file(folder_of(self.root), (self.question_table,), advice)
        return found

    def parse(self, files: dict[str, Path]) -> AnswerTable:
        """Read the files."""
        columns = self._read_log(files)
        counts = {"rows read": len(columns)}
        if "questions" in files:
            columns = self._with_questions(columns, files["questions"])
        return self.rows.table(columns, counts)

    def _read_log(self, files: dict[str, Path]) -> Columns:
        """Return the columns of the log; a missing one says which argument names another."""
        roles = self._roles()
        logs = [path for role, path in files.items() if role != "questions"]
        form = (self.encoding, self.separator, self.quoting)
        try:
            if self.layout == "three_lines":
                return read_three_lines(logs[0], self.encoding, (self.rows.concept, self.rows.correct))
            if self.learner_files is not None:
                return read_learner_files(logs, list(roles), *form)
            return read_columns(logs[0], list(roles), (), *form)
        except DataError as error:
            raise _advised(error, roles) from error

    def _with_questions(self, columns: Columns, path: Path) -> Columns:
        """Return the columns and, beside each row, what the table of questions says of its question."""
        rows = self.rows
        wanted = [rows.concept, *([] if rows.answer_key is None else [rows.answer_key])]
        key = str(rows.item)
        table = read_columns(path, [key, *wanted], (), self.encoding, self.separator, self.quoting)
        codes, names = table.required_names(key, rows.id)
        number = {name: place for place, name in enumerate(names)}
        first = dict(zip(reversed(codes.tolist()), range(len(codes) - 1, -1, -1)))
        asked, items = columns.required_names(key, rows.id)
        place = [first[number[name]] if name in number else None for name in items]
        for name in wanted:
            cells = table.cells(name)
            texts = ["" if at is None else cells[at] for at in place]
            columns = columns.plus(name, asked, texts)
        return columns

    def _roles(self) -> dict[str, str]:
        """Return the columns that the log must have, and which argument names each."""
        rows = self.rows
        roles: dict[str, str] = {}
        for role, value in vars(rows).items():
            if role not in _COLUMNS or value is None or value == LEARNER:
                continue
            if self.question_table is not None and role in ("concept", "answer_key"):
                continue
            for name in [value] if isinstance(value, str) else value:
                roles.setdefault(name, role)
        return roles


def _advised(error: DataError, roles: dict[str, str]) -> DataError:
    """Return the error, with the argument that mends it."""
    role = roles.get(error.column or "")
    if "quote that nothing closes" in error.problem:
        advice = ", or give --data.quoting false where quotes are text"
    elif "seem to be separated by" in error.problem:
        advice = "; give that as --data.separator"
    elif role is not None and "missing;" in error.problem:
        advice = f"; name another with --data.{role}" + (", or null" if role in _NULLABLE else "")
    else:
        return error
    return DataError(error.file, error.problem + advice, error.row, error.column)


def _unquoted(text: str) -> str:
    """Return a separator as it was typed: without quotes around it, and with a tab for `\\t`."""
    inner = text[1:-1] if len(text) > 2 and text[0] == text[-1] == '"' else text
    return inner.replace("\\t", "\t")


def _texts(given: Text | list[Text]) -> list[str]:
    return [str(one) for one in given] if isinstance(given, list) else [str(given)]
