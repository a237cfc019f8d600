"""Unseen learners from CSV files: their answers so far, what they want to learn and what they are to be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from lpr_lightning.datamodules.columns import Columns, quoted, unknown_name
from lpr_lightning.datamodules.delimited import read_columns
from lpr_lightning.datamodules.source import existing_file
from lpr_lightning.datamodules.table import concept_matrix
from lpr_lightning.errors import DataError, SettingError, checked
from lpr_lightning.types import PAD, Exercise, Interactions, PathRequest


@dataclass(frozen=True)
class UnseenLearners:
    """Requests of learners that no model has seen; they are `Examples` whose batches are `PathRequest`s.

    `learners` are the E names, `log` holds the E histories, which may be empty, `targets` [E, N] bool and `length` [E]
    int64 what is wanted, `items` [E, A] int64 the questions to be asked, -1 where unused, or None; their concepts come
    by `asking`.
    """

    learners: list[str]
    log: Interactions
    targets: Tensor
    length: Tensor
    items: Tensor | None = None
    item_concepts: Tensor | None = None

    @property
    def sizes(self) -> Tensor:
        """Number of answers of each history, [E] int64."""
        return self.log.lengths

    def batch(self, index: Tensor) -> PathRequest:
        """Return the requests at `index` [B]; `row` is the position among them, `learner` is -1."""
        asked = None
        if self.items is not None and self.item_concepts is not None:
            item = self.items[index]
            concept = self.item_concepts[item.clamp_min(0)].masked_fill(item[..., None] < 0, PAD)
            asked = Exercise(concept, item)
        return PathRequest(
            history=self.log.batch(index),
            targets=self.targets[index],
            length=self.length[index],
            learner=torch.full_like(index, PAD),
            row=index,
            asked=asked,
        )

    def asking(self, item_concepts: Callable[[], Tensor]) -> UnseenLearners:
        """Return the same with the concepts [Q, C] of all questions, which are looked up where any is to be asked."""
        return self if self.items is None else replace(self, item_concepts=item_concepts())

    def continued(self, answers: Interactions) -> UnseenLearners:
        """Return what is left of each request after the `answers` [E learners] given since its path began.

        They follow the history, and the wanted length is less by their number, at least 0.

        >>> history, since = Interactions.from_lists([[(0, 1)]]), Interactions.from_lists([[(1, 0), (2, 1)]])
        >>> request = UnseenLearners(["ann"], history, torch.tensor([[False, False, True]]), torch.tensor([5]))
        >>> left = request.continued(since)
        >>> left.log.concept.flatten().tolist(), left.length
        ([0, 1, 2], tensor([3]))
        """
        return replace(
            self, log=joined(self.log, answers), length=(self.length - answers.lengths.to(self.length)).clamp_min(0)
        )

    @classmethod
    def read(
        cls,
        goals: str | None,
        histories: str | None,
        default_length: int,
        vocabulary: Mapping[str, int],
        items: Sequence[str] = (),
        answers: str | None = None,
    ) -> UnseenLearners:
        """Read the requests, the histories, and the answers given since the paths began.

        `goals` has one row for each request: `learner`, `targets` (concepts joined by `;`) or `items` (questions to be
        asked, joined by `;`) or both, perhaps `length`. Without `goals` every learner of `histories` makes one
        request, without targets. `histories` and `answers` have one row for each answer: `learner`, `concept`
        (several joined by `;` or `_`), `correct`, perhaps `item` and `order` (a number; otherwise the order of the
        file counts). Concepts go by name or raw id, questions by raw id. A learner in `goals` alone has no history,
        one in `histories` alone gets nothing where there are `goals`.

        Raises:
            MissingFileError: a file is not there.
            DataError: a concept or a question to be asked is unknown, a cell holds something else than it should, or a
                learner of `answers` is not in `goals` (without which: not in `histories`).
            SettingError: neither `goals` nor `histories` is given.
        """
        checked("predict_length", default_length, 1)
        given = None if histories is None else _log_columns(histories, "predict_histories")
        if goals is not None:
            requests = cls._wanted(goals, default_length, vocabulary, items)
        elif given is not None:
            requests = cls._everyone(given, default_length, vocabulary)
        else:
            raise SettingError("predict_goals", None, "a CSV file, or one in predict_histories")
        if given is not None:
            requests = replace(requests, log=_log(given, requests.learners, vocabulary, items))
        if answers is None:
            return requests
        since = _log_columns(answers, "predict_answers")
        _check_learners(since, requests.learners, goals or histories or "")
        return requests.continued(_log(since, requests.learners, vocabulary, items))

    @classmethod
    def _wanted(
        cls, goals: str, default_length: int, vocabulary: Mapping[str, int], items: Sequence[str]
    ) -> UnseenLearners:
        """Return the requests of a goals file, without histories."""
        file = existing_file(goals, "predict_goals")
        columns = read_columns(file, ("learner",), ("targets", "items", "length"))
        if "items" not in columns:
            columns = read_columns(file, ("learner", "targets"), ("length",))
        learners = columns.ids("learner")
        if not learners:
            raise DataError(goals, "there is no row below the header")
        questions = {name: number for number, name in enumerate(items)}
        asked = _numbers_of(columns, "items", questions, (";",), "question", empty=True)
        wanted = _numbers_of(columns, "targets", vocabulary, (";",), empty="items" in columns)
        targets = torch.zeros(len(learners), max(vocabulary.values()) + 1, dtype=torch.bool)
        for row, (some, others) in enumerate(zip(wanted, asked)):
            if not some and not others:
                raise columns.error("items", row, "expected questions, or targets in the column of this name")
            targets[row, some] = True
        length = np.full(len(learners), default_length, np.int64)
        if "length" in columns:
            length = columns.mapped("length", lambda text: _length(text, default_length), "a number of 1 or more")
        listed = torch.from_numpy(concept_matrix(asked)).long() if any(asked) else None
        return cls(learners, _no_answers(len(learners)), targets, torch.from_numpy(length), listed)

    @classmethod
    def _everyone(cls, histories: Columns, default_length: int, vocabulary: Mapping[str, int]) -> UnseenLearners:
        """Return one request without targets for each learner of a file of histories, in the order of the file."""
        learners = list(dict.fromkeys(histories.ids("learner")))
        if not learners:
            raise DataError(histories.file, "there is no row below the header")
        targets = torch.zeros(len(learners), max(vocabulary.values()) + 1, dtype=torch.bool)
        length = torch.full((len(learners),), default_length)
        return cls(learners, _no_answers(len(learners)), targets, length)


def joined(first: Interactions, second: Interactions) -> Interactions:
    """Return logs of the same learners, each learner's answers in `second` behind those in `first`; times are lost.

    >>> log = joined(Interactions.from_lists([[(0, 1)], [(1, 1)]]), Interactions.from_lists([[(2, 0)], []]))
    >>> log.offsets, log.concept.squeeze(-1)
    (tensor([0, 2, 3]), tensor([0, 2, 1], dtype=torch.int32))
    """
    parts = (first, second)
    owner = torch.cat([part.owner for part in parts])
    rows = owner.argsort(stable=True)
    width = max(part.concept.shape[1] for part in parts)
    concept = torch.cat([pad(part.concept, (0, width - part.concept.shape[1]), value=PAD) for part in parts])
    return Interactions(
        offsets=first.offsets + second.offsets,
        learner=first.learner,
        item=torch.cat([part.item for part in parts])[rows],
        concept=concept[rows],
        correct=torch.cat([part.correct for part in parts])[rows],
    )


def _log_columns(path: str, argument: str) -> Columns:
    return read_columns(existing_file(path, argument), ("learner", "concept", "correct"), ("order", "item"))


def _log(
    columns: Columns, learners: Sequence[str], vocabulary: Mapping[str, int], items: Sequence[str]
) -> Interactions:
    """Return the answers of `learners`, one log for each of them; items that are not in `items` are -1."""
    learner, names = columns.names("learner")
    rows = np.lexsort((columns.integers("order"), learner) if "order" in columns else (learner,))
    item = np.full(len(columns), PAD, np.int32)
    if "item" in columns:
        codes, texts = columns.names("item")
        number = {name: position for position, name in enumerate(items)}
        item = np.array([number.get(text, PAD) for text in texts], np.int32)[codes]
    concept = concept_matrix(_numbers_of(columns, "concept", vocabulary, (";", "_")))
    lengths = np.bincount(learner, minlength=len(names) + 1)  # the last learner has no answer
    log = Interactions(
        offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])),
        learner=torch.full((len(lengths),), PAD),
        item=torch.from_numpy(item[rows]),
        concept=torch.from_numpy(concept[rows]),
        correct=torch.from_numpy(columns.answers("correct")[rows]),
    )
    place = {name: position for position, name in enumerate(names)}
    return log.select(torch.tensor([place.get(name, len(names)) for name in learners]))


def _check_learners(columns: Columns, learners: Sequence[str], goals: str) -> None:
    """Refuse answers of learners who ask for no path."""
    known = set(learners)
    for row, name in enumerate(columns.ids("learner")):
        if name not in known:
            problem = (
                f"the learner {quoted(name)} has answers, but no row in {goals}; add one, or leave the answers out"
            )
            raise columns.error("learner", row, problem)


def _no_answers(learners: int) -> Interactions:
    return Interactions.from_lists([[] for _ in range(learners)])


def _numbers_of(
    columns: Columns,
    name: str,
    vocabulary: Mapping[str, int],
    separators: Sequence[str],
    what: str = "concept",
    empty: bool = False,
) -> list[list[int]]:
    """Return the numbers of what every cell of a column names; none where the column is missing or may be `empty`."""
    if name not in columns:
        return [[] for _ in range(len(columns))]
    codes, texts = columns.categories(name)
    cells = [[] if empty and not text.strip() else _numbers(text.strip(), vocabulary, separators) for text in texts]
    found = []
    for row, code in enumerate(codes.tolist()):
        cell = cells[code]
        if isinstance(cell, str):
            raise columns.error(name, row, unknown_name(cell, vocabulary, what))
        found.append(cell)
    return found


def _numbers(text: str, vocabulary: Mapping[str, int], separators: Sequence[str]) -> list[int] | str:
    """Return the numbers of what `text` names, or the part of it that is unknown."""
    if text in vocabulary:
        return [vocabulary[text]]
    separator = next((one for one in separators if one in text), None)
    if separator is None:
        return text
    numbers: set[int] = set()
    for part in filter(None, map(str.strip, text.split(separator))):
        found = _numbers(part, vocabulary, separators)
        if isinstance(found, str):
            return found
        numbers.update(found)
    return sorted(numbers) if numbers else text


def _length(text: str, default: int) -> int | None:
    if not text:
        return default
    return int(text) if text.isdecimal() and 0 < int(text) < 10**6 else None
