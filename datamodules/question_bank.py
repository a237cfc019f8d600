"""The questions of a data set in words: its own, or those of a file laid over them; and which are held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lpr_lightning.datamodules.split import fold_learners, split_learners
from lpr_lightning.errors import SettingError
from lpr_lightning.question_files import load_questions
from lpr_lightning.questions import Question, Questions
from lpr_lightning.types import Split


class QuestionBank:
    """Questions that are read when they are first asked for.

    Args:
        source: what the data set is called, for messages.
        read: returns the data set's own questions, by number.
        names: their raw names.
        file: questions in words, by raw name, that take the place of the data set's own.
    """

    def __init__(self, source: str, read: Callable[[], Questions], names: Sequence[str], file: str | None) -> None:
        self.source, self._read, self._names, self._file = source, read, names, file

    @cached_property
    def questions(self) -> Questions:
        """The questions by number, each with a text or an empty one.

        Raises:
            SettingError: none has a text, or none of the file is one of the data set.
        """
        found = self._read() if self._file is None else self._overlaid(self._file)
        if not any(one.text.strip() for one in found.questions):
            allowed = f"a file of questions in words: {self.source} has no wording of its own"
            raise SettingError("questions_file", self._file, allowed, "Give --data.questions_file FILE.jsonl")
        return found

    def numbers(
        self, split: Split, fractions: Sequence[float], seed: int, folds: int | None = None, fold: int = 0
    ) -> Tensor:
        """Return the questions with a text of one split, ascending [E] int64; shuffled and cut as learners are."""
        worded = [number for number, one in enumerate(self.questions.questions) if one.text.strip()]
        every = torch.tensor(worded, dtype=torch.int64)
        if folds is None:
            train, val, test = split_learners(every, fractions, seed)
        else:
            train, val, test = fold_learners(every, fractions, seed, folds, fold)
        return {"train": train, "val": val, "test": test}[split]

    def _overlaid(self, file: str) -> Questions:
        """Return the questions of the file in the data set's order; one that it lacks keeps what the data set says."""
        read = load_questions(file)
        given = {one.name: one for one in read.questions.questions}
        known = [name for name in self._names if name in given]
        if not known:
            allowed = f"a file whose questions are named as in the data ({', '.join(list(self._names)[:3])}, …)"
            raise SettingError("questions_file", file, allowed)
        own = self._read().questions
        kept = tuple(given.get(name, own[number]) for number, name in enumerate(self._names))
        told = {"in the data": len(self._names), "of them in the file": len(known)}
        told |= {"of the file, not in the data": len(given) - len(known)} | read.counts
        rank_zero_info(f"{file}: questions " + "; ".join(f"{what} {count:,}" for what, count in told.items()))
        return Questions(kept)


def named_questions(
    names: Sequence[str], texts: Sequence[str], concepts: Sequence[Sequence[int]], concept_names: Sequence[str]
) -> Questions:
    """Return questions of their names, texts and concepts (-1 where unused).

    >>> named_questions(["q1"], ["Why?"], [[1, -1]], ["a", "b"])[0].concepts
    ('b',)
    """
    texts = texts or [""] * len(names)
    return Questions(
        tuple(
            Question(name, text.strip(), concepts=tuple(concept_names[one] for one in own if one >= 0))
            for name, text, own in zip(names, texts, concepts, strict=True)
        ),
        tuple(concept_names),
    )
