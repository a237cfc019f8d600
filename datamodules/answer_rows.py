"""Rows of a log with named columns, as a table of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lpr_lightning.datamodules.answer_words import AnswerWords, Marks
from lpr_lightning.datamodules.cells import MISSING, is_missing, listed, plain_id
from lpr_lightning.datamodules.columns import Columns, Moments
from lpr_lightning.datamodules.rows import MergedRows, answer_numbers, merge_rows, repeats
from lpr_lightning.datamodules.table import AnswerTable, Array, build_table, concept_matrix, natural_key, readable
from lpr_lightning.types import PAD


@dataclass(frozen=True)
class AnswerRows:
    """How the columns of a log become answers.

    `learner`, `order`, `item`, `concept`, `correct`, `time` and `attempt` name columns (`item` perhaps several), None
    where there is none; `answer_key` holds the right answer where `correct` holds the one that was given. `missing` are
    the texts, in small letters, that stand for no value.
    """

    learner: str
    concept: str
    correct: str
    order: str | None = None
    item: str | Sequence[str] | None = None
    time: str | None = None
    attempt: str | None = None
    answer_key: str | None = None
    words: AnswerWords = field(default_factory=AnswerWords)
    concept_separator: str | None = None
    missing: frozenset[str] = MISSING
    milliseconds: float = 1.0
    day_first: bool | None = None

    def table(self, columns: Columns, counts: dict[str, int]) -> AnswerTable:
        """Return the answers; `counts` says what was counted before.

        Rows of equal learner, order and item on several concepts are one answer. Ties of `order` stay in the order of
        the rows; a row repeats another only where the attempt is the same too.
        """
        learner, learners = columns.required_names(self.learner, self.id)
        marks = self._marks(columns)
        cell, cells, concepts, lists = self._concepts(columns)
        item, items = self._items(columns)
        known = (cells[cell] != PAD).any(1) if len(cell) else np.zeros(0, bool)
        keep = np.flatnonzero(marks.keep & known)
        counts = counts | marks.counts | {"dropped: no concept": int((marks.keep & ~known).sum())}
        if lists:
            counts["split: concepts listed in brackets"] = lists
        order = None if self.order is None else columns.moments(self.order, self.day_first)
        time = None if self.time is None else columns.moments(self.time, self.day_first)
        for name, moments in ((self.order, order), (self.time, time)):
            if moments is not None and moments.assumed:
                counts[f"assumed: dates of {name} have the {moments.assumed} (day_first)"] = len(columns)
        parts = (learner[keep], item[keep], marks.correct[keep], cell[keep])
        found, ties = self._merged(columns, keep, order, parts, cells, len(concepts))
        rows = keep[found.row]
        return build_table(
            learner[rows],
            learners,
            item[rows],
            items,
            found.concept,
            concepts,
            readable([""] * len(concepts), concepts),
            marks.correct[rows],
            time=None if time is None else time.milliseconds(self.milliseconds)[rows],
            counts=counts | found.counts | ({"equal order: rows kept in file order": ties} if ties else {}),
        )

    def id(self, text: str) -> str:
        """Return the id in a cell, "" where it is missing."""
        return "" if is_missing(text, self.missing) else plain_id(text)

    def _merged(
        self,
        columns: Columns,
        keep: Array,
        order: Moments | None,
        parts: tuple[Array, Array, Array, Array],
        cells: Array,
        concepts: int,
    ) -> tuple[MergedRows, int]:
        """Return the answers of the rows `keep`, and how many share their learner and order with one before."""
        learner, item, correct, cell = parts
        if order is None and self.attempt is None:
            return MergedRows(np.arange(len(keep)), cells[cell], {}), 0
        moment = np.zeros(len(keep), np.int64) if order is None else order.values[keep]
        if self.attempt is None:
            again = repeats(learner, moment, item, correct, cell)
            number = answer_numbers(moment, learner, item, correct, again)
        else:
            attempt = columns.required_names(self.attempt, self.id)[0][keep]
            number = answer_numbers(moment, learner, item, attempt)
        found = merge_rows(learner, number, item, correct, cell, cells, concepts)
        same = learner[found.row[1:]] == learner[found.row[:-1]]
        ties = same & (moment[found.row[1:]] == moment[found.row[:-1]])
        return found, 0 if order is None else int(ties.sum())

    def _marks(self, columns: Columns) -> Marks:
        if self.answer_key is None:
            return self.words.read(columns, self.correct)
        given, texts = columns.names(self.correct, self.id)
        key, right = columns.names(self.answer_key, self.id)
        number = {text.lower(): place for place, text in enumerate(right) if text}
        same = np.array([number.get(text.lower(), PAD) for text in texts], np.int64)
        none = np.array([text == "" or text.lower() in self.words.no_answer for text in texts], bool)
        unkeyed = np.array([text == "" for text in right], bool)
        if not len(given):
            return Marks(np.zeros(0, np.uint8), np.zeros(0, bool), {})
        missing, unknown = none[given], unkeyed[key]
        counts = {
            "dropped: no answer": int(missing.sum()),
            "dropped: no right answer known": int((unknown & ~missing).sum()),
        }
        counts = {name: count for name, count in counts.items() if count}
        return Marks((same[given] == key).astype(np.uint8), ~missing & ~unknown, counts)

    def _items(self, columns: Columns) -> tuple[Array, list[str]]:
        """Return the question of each row; the cell of the concepts stands for it where there is none."""
        if self.item is None:
            return columns.names(self.concept, self.id)
        if isinstance(self.item, str):
            return columns.required_names(self.item, self.id)
        found = [columns.names(name, self.id) for name in self.item]
        sets, number = np.unique(np.stack([codes for codes, _ in found], 1), axis=0, return_inverse=True)
        names = [" / ".join(texts[code] for code, (_, texts) in zip(row, found)) for row in sets.tolist()]
        item = number.reshape(-1).astype(np.int32)
        for place, row in enumerate(sets.tolist()):
            if not any(texts[code] for code, (_, texts) in zip(row, found)):
                raise columns.missing(self.item[0], int(np.argmax(item == place)))
        return item, names

    def _concepts(self, columns: Columns) -> tuple[Array, Array, list[str], int]:
        """Return the cell of each row, the concepts of each cell [cells, C], their names, and the rows of lists."""
        codes, texts = columns.categories(self.concept)
        parts = [self._split(text) for text in texts]
        clean = [sorted({self.id(part) for part in one} - {""}, key=natural_key) for one, _ in parts]
        concepts = sorted({part for one in clean for part in one}, key=natural_key)
        number = {name: position for position, name in enumerate(concepts)}
        cells = concept_matrix([[number[part] for part in one] for one in clean])
        cells, place = np.unique(cells, axis=0, return_inverse=True) if len(cells) else (cells, np.zeros(0, np.int64))
        lists = np.array([is_list for _, is_list in parts], bool)
        return place.reshape(-1)[codes], cells, concepts, int(lists[codes].sum()) if len(codes) else 0

    def _split(self, text: str) -> tuple[Sequence[str], bool]:
        """Return the concepts in a cell, and whether it is a list in brackets."""
        if (parts := listed(text)) is not None:
            return parts, True
        return [text] if self.concept_separator is None else text.split(self.concept_separator), False
