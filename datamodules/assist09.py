"""ASSISTments 2009-2010 skill builder data: all three official variants of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from lpr_lightning.datamodules.base import recorded
from lpr_lightning.datamodules.cells import MISSING, is_missing
from lpr_lightning.datamodules.columns import Columns, canonical_id, quoted
from lpr_lightning.datamodules.delimited import read_columns
from lpr_lightning.datamodules.files import FileDataModule
from lpr_lightning.datamodules.rows import combinations, merge_rows
from lpr_lightning.datamodules.source import find_file
from lpr_lightning.datamodules.table import AnswerTable, Array, build_table, concept_matrix, readable
from lpr_lightning.errors import DataError, SettingError
from lpr_lightning.types import PAD

NAMES = (
    "skill_builder_data_corrected_collapsed.csv",
    "skill_builder_data_corrected.csv",
    "skill_builder_data.csv",
)
ADVICE = (
    "get it from https://sites.google.com/site/assistmentsdata/home/2009-2010-assistment-data "
    "and give its folder (or the file itself) as --data.root"
)
_NO_SKILL = MISSING | {"noskill"}


class ASSIST09(FileDataModule):
    """Answers of `skill_builder_data[_corrected[_collapsed]].csv`; whichever is found first in this order:
    corrected and collapsed, corrected, first release.

    All three give the same interactions: rows of one learner with the same `order_id` are ONE answer on several
    skills, exact duplicates are removed, answers come in the order of `order_id` as a number (the order of the file is
    not chronological), rows without a skill are dropped. Skills are keyed on `skill_id`, since names repeat.

    Args:
        root: folder of the file, or the file itself; plain, .gz or .zip.
        concepts: `combinations`: every set of skills that occurs together is one concept (149 in the official file);
            `skills`: an answer has one to four of the single skills (123).
        drop_scaffolding: leave out the sub-problems that follow a wrong answer (`original` = 0).
        test_root: the same for learners who are all test learners.
        common: see `LearnerDataModule`.

    Raises:
        MissingFileError: none of the files is there.
        DataError: the file holds something that is no answer log, such as partial credit in `correct`.
    """

    def __init__(
        self,
        root: str,
        concepts: Literal["skills", "combinations"] = "combinations",
        drop_scaffolding: bool = False,
        test_root: str | None = None,
        **common: Any,
    ) -> None:
        given = recorded(locals())
        if concepts not in ("skills", "combinations"):
            raise SettingError("concepts", concepts, "skills or combinations")
        self.concepts = concepts
        self.drop_scaffolding = drop_scaffolding
        super().__init__(root=root, test_root=test_root, **common)
        self.save_hyperparameters(given, logger=False)

    def options(self) -> list[object]:
        """Return the reading options."""
        return [self.concepts, self.drop_scaffolding]

    def find(self, root: str) -> dict[str, Path]:
        """Return the file."""
        return {"log": find_file(root, NAMES, ADVICE)}

    def parse(self, files: dict[str, Path]) -> AnswerTable:
        """Read the file."""
        file = files["log"]
        needed = ("order_id", "user_id", "problem_id", "correct", "skill_id")
        columns = read_columns(file, needed, ("skill_name", "original"), encoding="latin-1")
        if self.drop_scaffolding and "original" not in columns:
            raise DataError(file, "the column is missing, and drop_scaffolding needs it", row=1, column="original")
        return _parse(columns, self.concepts == "combinations", self.drop_scaffolding)


def _parse(columns: Columns, combined: bool, drop_scaffolding: bool) -> AnswerTable:
    """Turn rows into answers."""
    order = columns.integers("order_id")
    user, users = columns.required_names("user_id")
    problem, problems = columns.required_names("problem_id")
    correct = columns.answers("correct")
    cell, cells, skills, skill_names = _skills(columns)
    counts = {"rows read": len(columns)}

    keep = (cells[cell] != PAD).any(1) if len(cell) else np.zeros(0, bool)
    counts["dropped: no skill"] = int((~keep).sum())
    if drop_scaffolding:
        main = columns.answers("original") == 1
        counts["dropped: scaffolding"] = int((keep & ~main).sum())
        keep &= main
    rows = np.flatnonzero(keep)
    answers = merge_rows(user[keep], order[keep], problem[keep], correct[keep], cell[keep], cells, len(skills))
    counts |= answers.counts
    rows, concept = rows[answers.row], answers.concept

    ids, names = skills, skill_names
    if combined:
        concept, ids, names = combinations(concept, skills, skill_names)
    return build_table(
        user[rows],
        users,
        problem[rows],
        problems,
        concept,
        ids,
        readable(names, ids),
        correct[rows],
        counts=counts,
    )


def _skills(columns: Columns) -> tuple[Array, Array, list[str], list[str]]:
    """Return the cell of each row, the skills of each distinct cell [cells, C], and the skills' ids and names."""
    codes, texts = columns.categories("skill_id")
    split = [_ids(columns, codes, number, text) for number, text in enumerate(texts)]
    ids = sorted({one for cell in split for one in cell})
    number = {one: position for position, one in enumerate(ids)}
    cells = concept_matrix([[number[one] for one in cell] for cell in split])
    names = _names(columns, codes, split, number)
    # two texts may be the same set of skills
    cells, place = np.unique(cells, axis=0, return_inverse=True) if len(cells) else (cells, np.zeros(0, np.int64))
    return place.reshape(-1).astype(np.int64)[codes], cells, [str(one) for one in ids], names


def _ids(columns: Columns, codes: Array, number: int, text: str) -> list[int]:
    """Return the skill ids of one cell such as `2_37`, `1.0` or `NA`, ascending."""
    if is_missing(text, _NO_SKILL):
        return []
    ids = {canonical_id(part) for part in text.split("_")}
    if not all(part.isdecimal() and part.isascii() for part in ids):
        row = int(np.argmax(codes == number))
        raise columns.error("skill_id", row, f"expected skill numbers joined by _, got {quoted(text)}")
    return sorted(set(map(int, ids)))


def _names(columns: Columns, codes: Array, cells: list[list[int]], number: dict[int, int]) -> list[str]:
    """Return the name of each skill: the commonest beside it in rows of one skill, else what joined names tell."""
    names = [""] * len(number)
    if "skill_name" not in columns:
        return names
    name, texts = columns.categories("skill_name")
    pairs, frequency = np.unique(codes.astype(np.int64) * max(len(texts), 1) + name, return_counts=True)
    found: dict[int, dict[str, tuple[int, int]]] = {}
    for pair, count in zip(pairs.tolist(), frequency.tolist(), strict=True):
        ids, parts = cells[pair // len(texts)], texts[pair % len(texts)].split("_")
        parts = parts if len(ids) > 1 else [texts[pair % len(texts)]]
        if len(parts) != len(ids):
            continue
        for one, part in zip(ids, parts, strict=True):
            if not is_missing(clean := part.strip(), _NO_SKILL):
                alone, total = found.setdefault(one, {}).get(clean, (0, 0))
                found[one][clean] = (alone + count * (len(ids) == 1), total + count)
    for one, votes in found.items():
        names[number[one]] = min(votes, key=lambda text: (-votes[text][0], -votes[text][1], text))
    return names
