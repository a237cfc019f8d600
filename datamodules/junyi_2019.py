"""Junyi Academy's second release (2018-2019): `Log_Problem.csv` and `Info_Content.csv`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from lpr_lightning.datamodules.delimited import read_columns
from lpr_lightning.datamodules.rows import order_by
from lpr_lightning.datamodules.table import AnswerTable, Array, build_table, natural_key, readable
from lpr_lightning.errors import DataError
from lpr_lightning.types import PAD

LOG = "Log_Problem.csv"
TABLE = "Info_Content.csv"


def read_log(log: Path, table: Path, concept: Literal["exercise", "topic"], hints_are_wrong: bool) -> AnswerTable:
    """Return the answers in the order of `timestamp_TW`, which is rounded to 15 minutes: ties keep the file's order.

    Exercises (`ucid`) are concepts, named by `content_pretty_name`, or their `level3_id` is; problems (`upid`) are the
    items. Rows whose exercise the table lacks keep it as a concept of its own, unnamed, and have no topic.
    """
    exercises, names, topics = _contents(table)
    columns = read_columns(log, ("timestamp_TW", "uuid", "ucid", "upid", "is_correct", "is_hint_used"))
    user, users = columns.required_names("uuid")
    exercise, ids = columns.required_names("ucid")
    problem, problems = columns.required_names("upid")
    correct = columns.answers("is_correct")
    hinted = columns.answers("is_hint_used").astype(bool)
    time = columns.moments("timestamp_TW").milliseconds()
    if hints_are_wrong:
        correct = correct & ~hinted
    counts = {"rows read": len(columns), "right, but with a hint": int((columns.answers("is_correct") & hinted).sum())}

    if concept == "topic":
        concepts = sorted({topic for topic in topics.values() if topic}, key=natural_key)
        titles = concepts
        place = {name: number for number, name in enumerate(concepts)}
        of_exercise = [place.get(topics.get(name, ""), PAD) for name in ids]
    else:
        concepts = [*exercises, *(name for name in ids if name not in names)]
        titles = readable([names.get(name, "") for name in concepts], concepts)
        place = {name: number for number, name in enumerate(concepts)}
        of_exercise = [place[name] for name in ids]
        if strange := len(concepts) - len(exercises):
            counts["exercises that the table lacks"] = strange
    number: Array = np.array(of_exercise, np.int32)[exercise] if len(exercise) else np.zeros(0, np.int32)
    rows = order_by(user, time) if len(user) else np.zeros(0, np.int64)
    if (number == PAD).any():
        counts["dropped: exercise without a topic"] = int((number == PAD).sum())
        rows = rows[number[rows] != PAD]
    same = (user[rows][1:] == user[rows][:-1]) & (time[rows][1:] == time[rows][:-1])
    counts["equal time: rows kept in file order"] = int(same.sum())
    return build_table(
        user[rows],
        users,
        problem[rows],
        problems,
        number[rows][:, None],
        concepts,
        titles,
        correct[rows],
        time=time[rows],
        counts=counts,
    )


def _contents(path: Path) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Return the exercises in natural order, and the name and the topic of each."""
    columns = read_columns(path, ("ucid", "content_pretty_name", "level3_id"))
    codes, ids = columns.required_names("ucid")
    if not len(codes):
        raise DataError(path, "there is no row below the header")
    titles, topics = columns.cells("content_pretty_name"), columns.names("level3_id")
    name = {ids[code]: titles[row] for row, code in reversed(list(enumerate(codes.tolist())))}
    topic = {ids[code]: topics[1][topics[0][row]] for row, code in reversed(list(enumerate(codes.tolist())))}
    return ids, name, topic
