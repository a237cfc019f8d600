"""New learners from CSV files: their answers so far and what they want to learn, as requests for paths."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lpr_lightning.datamodules.columns import Columns, quoted, read_columns
from lpr_lightning.datamodules.table import Array, build_table, concept_matrix
from lpr_lightning.errors import DataError, MissingFileError, SettingError
from lpr_lightning.types import Interactions, PathRequest


@dataclass
class Strangers:
    """Requests of learners that no model has seen; they are `Examples` whose batches are `PathRequest`s.

    `log` holds their histories, which may be empty, `targets` [E, N] and `length` [E] what they want, and `sizes` [E]
    the number of answers of each history.
    """

    learners: list[str]
    log: Interactions
    targets: Tensor
    length: Tensor
    sizes: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.sizes = self.log.lengths

    def batch(self, index: Tensor) -> PathRequest:
        """Return the requests at `index` [B]; `row` is the position in the goals file, `learner` is -1."""
        return PathRequest(
            history=self.log.batch(index),
            targets=self.targets[index],
            length=self.length[index],
            learner=torch.full_like(index, -1),
            row=index,
        )

    @classmethod
    def read(
        cls,
        goals: str,
        histories: str | None,
        default_length: int,
        vocabulary: Mapping[str, int],
        items: Sequence[str] = (),
    ) -> Strangers:
        """Read both files.

        `goals` has one row for each request: `learner`, `targets` (concepts joined by `;`), perhaps `length`.
        `histories` has one row for each answer: `learner`, `concept` (several joined by `;` or `_`), `correct`, perhaps
        `item` and `order` (a number; otherwise the order of the file counts). Concepts go by name or raw id. Who
        stands only in `goals` has no history; who stands only in `histories` gets no path.

        Raises:
            MissingFileError: a file is not there.
            DataError: a concept is unknown, or a cell holds something else than it should.
        """
        if default_length < 1:
            raise SettingError("predict_length", default_length, "a number of 1 or more")
        columns = read_columns(_existing(goals, "predict_goals"), ("learner", "targets"), ("length",))
        codes, names = columns.categories("learner")
        learners = [names[code].strip() for code in codes.tolist()]
        if not learners:
            raise DataError(goals, "there is no row below the header")
        wanted = _concepts(columns, "targets", vocabulary, (";",))
        targets = torch.zeros(len(learners), max(vocabulary.values()) + 1, dtype=torch.bool)
        for row, one in enumerate(wanted):
            targets[row, one] = True
        length = np.full(len(learners), default_length, np.int64)
        if "length" in columns:
            length = columns.mapped("length", lambda text: _length(text, default_length), "a number of 1 or more")
        log = Interactions.from_lists([[] for _ in learners])
        if histories is not None:
            log = _histories(_existing(histories, "predict_histories"), learners, vocabulary, items)
        return cls(learners, log, targets, torch.from_numpy(length))


def _histories(path: Path, learners: list[str], vocabulary: Mapping[str, int], items: Sequence[str]) -> Interactions:
    """Read the answers of `learners`, one history for each of their rows."""
    columns = read_columns(path, ("learner", "concept", "correct"), ("order", "item"))
    sets = concept_matrix(_concepts(columns, "concept", vocabulary, (";", "_")))
    codes, names = columns.names("learner")
    item = np.full(len(codes), 0, np.int32)
    order = [columns.integers("order")] if "order" in columns else []
    table = build_table(codes, names, item, ["-1"], sets, list(vocabulary), [], columns.answers("correct"), order)
    place = {name: position for position, name in enumerate(table.learners)}
    log = table.log
    if "item" in columns:
        log = _with_items(log, columns, codes, order, items)
    else:
        log.item.fill_(-1)
    empty = log.num_learners
    offsets = torch.cat([log.offsets, log.offsets[-1:]])
    padded = Interactions(offsets, torch.arange(empty + 1), log.item, log.concept, log.correct)
    return padded.select(torch.tensor([place.get(name, empty) for name in learners]))


def _with_items(
    log: Interactions, columns: Columns, learner: Array, order: list[Array], items: Sequence[str]
) -> Interactions:
    number = {name: position for position, name in enumerate(items)}
    codes, names = columns.names("item")
    item = np.array([number.get(name, -1) for name in names], np.int32)[codes]
    rows = np.lexsort((*reversed(order), learner))
    log.item.copy_(torch.from_numpy(item[rows]))
    return log


def _concepts(columns: Columns, name: str, vocabulary: Mapping[str, int], separators: Sequence[str]) -> list[list[int]]:
    """Return the concept numbers of every cell of a column."""
    codes, texts = columns.categories(name)
    cells: list[list[int] | str] = [_look_up(text.strip(), vocabulary, separators) for text in texts]
    found = []
    for row, code in enumerate(codes.tolist()):
        cell = cells[code]
        if isinstance(cell, str):
            raise columns.error(name, row, _unknown(cell, vocabulary))
        found.append(cell)
    return found


def _look_up(text: str, vocabulary: Mapping[str, int], separators: Sequence[str]) -> list[int] | str:
    """Return the numbers of the concepts in `text`, or the part of it that is none."""
    if text in vocabulary:
        return [vocabulary[text]]
    for separator in separators:
        if separator in text:
            parts = [_look_up(part.strip(), vocabulary, separators) for part in text.split(separator) if part.strip()]
            for part in parts:
                if isinstance(part, str):
                    return part
            numbers = {number for part in parts for number in part if isinstance(number, int)}
            return sorted(numbers) if numbers else text
    return text


def _unknown(text: str, vocabulary: Mapping[str, int]) -> str:
    if not text:
        return "expected a concept, the cell is empty"
    close = difflib.get_close_matches(text, vocabulary, n=3, cutoff=0.5)
    near = " or ".join(map(repr, close)) if close else "one of " + ", ".join(list(vocabulary)[:5]) + ", …"
    return f"the concept {quoted(text)} is not known; the closest: {near}"


def _length(text: str, default: int) -> int | None:
    if not text:
        return default
    return int(text) if text.isdecimal() and 0 < int(text) < 10**6 else None


def _existing(path: str, argument: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingFileError(file.name, file.parent, f"give --data.{argument} the path of a CSV file")
    return file
