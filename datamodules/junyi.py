"""Junyi Academy (2012-2015, 2018-2019): 26 million rows of ProblemLog with the Exercise_table, read piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from lpr_lightning.datamodules import junyi_2019
from lpr_lightning.datamodules.base import recorded
from lpr_lightning.datamodules.cells import canonical_id, is_missing
from lpr_lightning.datamodules.delimited import Kind, column_names, read_columns, stream_columns
from lpr_lightning.datamodules.files import FileDataModule
from lpr_lightning.datamodules.prerequisites import clean_edges
from lpr_lightning.datamodules.rows import order_by, repeats
from lpr_lightning.datamodules.source import find_file, folder_of, optional_file
from lpr_lightning.datamodules.table import AnswerTable, Array, build_table, compact, natural_key
from lpr_lightning.errors import DataError, SettingError
from lpr_lightning.types import PAD

LOG = "junyi_ProblemLog_original.csv"
TABLE = "junyi_Exercise_table.csv"
ADVICE = (
    "get the Junyi data (PSLC DataShop 1198: junyi_ProblemLog_original.csv and junyi_Exercise_table.csv; or "
    "https://www.kaggle.com/datasets/junyiacademy/learning-activity-public-dataset-by-junyi-academy: Log_Problem.csv "
    "and Info_Content.csv) and give the folder of both files as --data.root"
)


class Junyi(FileDataModule):
    """Answers of `junyi_ProblemLog_original.csv` in the order of `time_done` (microseconds), ties in file order; or,
    where that is not there, of the second release's `Log_Problem.csv` in the order of `timestamp_TW` (`junyi_2019`).

    Args:
        root: folder of the log and of its table, `junyi_Exercise_table.csv` or `Info_Content.csv` (plain, .gz or .zip),
            or the log itself.
        concept: `exercise`: each exercise is a concept (835 in the first table); `topic`: its topic is (40; of the
            second release `level3_id`). Answers on an exercise without a topic are then dropped and counted.
        hints_are_wrong: count an answer for which a hint was used as wrong. The official `correct` already does.
        test_root: folder (or log) of learners who are all test learners; the table may be missing there.
        common: see `LearnerDataModule`.

    `prerequisites` holds the graph of the first table, without self loops; the card counts edges that lie on a cycle.
    The second release has none.
    """

    def __init__(
        self,
        root: str,
        concept: Literal["exercise", "topic"] = "exercise",
        hints_are_wrong: bool = True,
        test_root: str | None = None,
        **common: Any,
    ) -> None:
        given = recorded(locals())
        if concept not in ("exercise", "topic"):
            raise SettingError("concept", concept, "exercise or topic")
        self.concept = concept
        self.hints_are_wrong = hints_are_wrong
        super().__init__(root=root, test_root=test_root, **common)
        self.save_hyperparameters(given, logger=False)

    def options(self) -> list[object]:
        """Return the reading options."""
        return [self.concept, self.hints_are_wrong]

    def find(self, root: str) -> dict[str, Path]:
        """Return both files; the table also says which release it is."""
        log = find_file(root, (LOG, junyi_2019.LOG), ADVICE)
        table = junyi_2019.TABLE if _is_second(log) else TABLE
        own = optional_file(folder_of(root), (table,))
        return {"log": log, "table": own or find_file(folder_of(self.root), (table,), ADVICE)}

    def parse(self, files: dict[str, Path]) -> AnswerTable:
        """Read both files."""
        if _is_second(files["log"]):
            return junyi_2019.read_log(files["log"], files["table"], self.concept, self.hints_are_wrong)
        exercises = ExerciseTable.read(files["table"])
        log = _read_log(files["log"], self.hints_are_wrong)
        known = {name: number for number, name in enumerate(exercises.names)}
        extra = sorted(set(log.exercises) - known.keys(), key=natural_key)
        counts = {"rows read": len(log.user)}
        if self.concept == "topic":
            concepts = sorted({topic for topic in exercises.topic if topic}, key=natural_key)
            place = {topic: number for number, topic in enumerate(concepts)}
            of_exercise = [place.get(topic, PAD) for topic in exercises.topic]
        else:
            concepts = exercises.names + extra
            of_exercise = list(range(len(exercises.names)))
            known |= {name: len(known) + number for number, name in enumerate(extra)}
            of_exercise += [known[name] for name in extra]
        concept_of = [of_exercise[known[name]] if name in known else PAD for name in log.exercises]
        edges, found = clean_edges(
            [
                (of_exercise[a], of_exercise[b])
                for a, b in exercises.edges
                if of_exercise[a] != PAD and of_exercise[b] != PAD and (a == b or of_exercise[a] != of_exercise[b])
            ]
        )
        return _table(log, np.array(concept_of, np.int32), concepts, counts, edges, found | exercises.counts)


def _is_second(log: Path) -> bool:
    """Return whether a log is of the second release: by its name, or else by the columns that only that one has."""
    if log.name.startswith((LOG, junyi_2019.LOG)):
        return log.name.startswith(junyi_2019.LOG)
    return {"ucid", "uuid"} <= set(column_names(log))


@dataclass(frozen=True)
class ExerciseTable:
    """The official table: exercises in order of their names, their topics ("" where none), edges (before, after)."""

    names: list[str]
    topic: list[str]
    edges: list[tuple[int, int]]
    counts: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> ExerciseTable:
        """Read the file; an exercise that occurs twice has the prerequisites of both rows."""
        columns = read_columns(path, ("name", "topic"), ("prerequisites", "prerequisite"))
        before_column = "prerequisite" if "prerequisite" in columns else "prerequisites"
        if before_column not in columns:
            raise DataError(path, "the column is missing", row=1, column=before_column)
        names = columns.ids("name")
        topics = dict(zip(reversed(names), reversed(columns.cells("topic")), strict=True))
        distinct = sorted(set(names) - {""}, key=natural_key)
        number = {name: place for place, name in enumerate(distinct)}
        edges, unknown = [], 0
        for name, cell in zip(names, columns.cells(before_column), strict=True):
            for before in filter(None, map(canonical_id, cell.split(","))):
                if before in number and name in number:
                    edges.append((number[before], number[name]))
                else:
                    unknown += 1
        topic = ["" if is_missing(topics[name]) else topics[name] for name in distinct]
        return cls(distinct, topic, edges, {"prerequisites dropped: unknown exercise": unknown} if unknown else {})


@dataclass
class _Log:
    """The rows of the log as numbers, in file order until they are put into another."""

    user: Array
    exercise: Array
    correct: Array
    time: Array
    exercises: list[str]

    def take(self, rows: Array) -> None:
        """Keep the rows at `rows` (positions or a mask), one column after another: memory is short."""
        self.user = self.user[rows]
        self.exercise = self.exercise[rows]
        self.correct = self.correct[rows]
        self.time = self.time[rows]


def _read_log(path: Path, hints_are_wrong: bool) -> _Log:
    """Read the log piece by piece into narrow columns."""
    names = ("user_id", "exercise", "time_done", "correct", *(("hint_used",) if hints_are_wrong else ()))
    kinds: dict[str, Kind] = {
        "user_id": "integer",
        "time_done": "integer",
        "correct": "truth",
        "hint_used": "truth",
    }
    number: dict[str, int] = {}
    columns: tuple[list[Array], ...] = ([], [], [], [])
    for piece in stream_columns(path, names, kinds=kinds):
        codes, texts = piece.categories("exercise")
        mine = np.array([number.setdefault(canonical_id(text), len(number)) for text in texts], np.int32)
        if "" in number and (missing := mine[codes] == number[""]).any():
            raise piece.missing("exercise", int(np.argmax(missing)))
        correct = piece.array("correct")
        if hints_are_wrong:
            correct = correct & ~piece.array("hint_used")
        user, time = piece.array("user_id"), piece.array("time_done")
        narrow = not len(user) or (user.min() >= -(2**31) and user.max() < 2**31)
        values: tuple[Array, ...] = (
            user.astype(np.int32) if narrow else user,
            mine[codes],
            correct.view(np.uint8),
            time,
        )
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    users, exercises, answers, times = columns
    return _Log(
        user=_joined(users, np.int64),
        exercise=_joined(exercises, np.int32),
        correct=_joined(answers, np.uint8),
        time=_joined(times, np.int64),
        exercises=list(number),
    )


def _joined(pieces: list[Array], kind: type) -> Array:
    """Put pieces of a column together and let go of them."""
    whole: Array = np.concatenate(pieces) if pieces else np.zeros(0, kind)
    pieces.clear()
    return whole


def _table(
    log: _Log, concept_of: Array, concepts: list[str], counts: dict[str, int], edges: Tensor, found: dict[str, int]
) -> AnswerTable:
    """Sort by user and time; leave out rows without a concept and rows that repeat another."""
    log.user, users = compact(log.user)
    log.take(order_by(log.user, log.time))
    repeat = _repeats(log)
    counts["dropped: exact duplicate"] = int(repeat.sum())
    keep = ~repeat
    if (concept_of == PAD).any():
        without = keep & (concept_of[log.exercise] == PAD)
        counts["dropped: exercise without a topic"] = int(without.sum())
        keep &= ~without
    if not keep.all():
        log.take(keep)
    log.time //= 1000
    return build_table(
        log.user,
        list(map(str, users.tolist())),
        log.exercise,
        log.exercises,
        concept_of[log.exercise][:, None],
        concepts,
        concepts,
        log.correct,
        time=log.time,
        counts=counts | found,
        prerequisites=edges,
    )


def _repeats(log: _Log) -> Array:
    """Return which rows say of a user, an exercise, a time and an answer what one before says; rows are in order."""
    repeat = np.zeros(len(log.user), bool)
    tie = np.flatnonzero((log.user[1:] == log.user[:-1]) & (log.time[1:] == log.time[:-1]))
    rows = np.union1d(tie, tie + 1)
    number = repeats(log.user[rows], log.time[rows], log.exercise[rows], log.correct[rows])
    repeat[rows[number > 0]] = True
    return repeat
