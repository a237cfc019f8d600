"""Which texts of a log mean a right answer, a wrong one or none, and what partial credit counts as."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from lpr_lightning.datamodules.cells import plain_id, quoted
from lpr_lightning.datamodules.columns import Columns
from lpr_lightning.datamodules.table import Array
from lpr_lightning.errors import SettingError

Text = bool | int | float | str
Texts = Text | Sequence[Text]
OTHERS = "*"
_RIGHT, _WRONG = frozenset({"1", "true"}), frozenset({"0", "false"})
_NO_ANSWER, _DROPPED = -1, -2


@dataclass(frozen=True)
class Marks:
    """The marks of rows: `correct` [R] uint8, `keep` [R] bool, False where there is no answer, and what was counted."""

    correct: Array
    keep: Array
    counts: dict[str, int]


@dataclass(frozen=True)
class AnswerWords:
    """What the texts of a column of answers mean; capitals and `.0` make no difference.

    `wrong` may be `*`, all texts that are not named otherwise. `partial_credit` is for numbers between those of wrong
    and right answers (0 and 1 where these are no numbers): from it on they are right, below it wrong; `drop` leaves
    them out; None refuses them.
    """

    right: frozenset[str] = _RIGHT
    wrong: frozenset[str] = _WRONG
    no_answer: frozenset[str] = frozenset()
    partial_credit: float | Literal["drop"] | None = None

    @classmethod
    def of(
        cls,
        right: Texts | None,
        wrong: Texts | None,
        no_answer: Texts | None,
        partial_credit: float | Literal["drop"] | None,
    ) -> Self:
        """Return the words that a configuration names; None stands for 1 and true, 0 and false, nothing.

        Raises:
            SettingError: a text has two meanings, or the threshold is no number.

        >>> AnswerWords.of("Accepted", "*", -1, None).no_answer
        frozenset({'-1'})
        """
        words = cls(
            _RIGHT if right is None else _words(right),
            _WRONG if wrong is None else _words(wrong),
            frozenset() if no_answer is None else _words(no_answer),
            partial_credit,
        )
        for name, one, other in (
            ("right", words.right, words.wrong | words.no_answer),
            ("wrong", words.wrong, words.no_answer),
        ):
            if both := sorted(one & other):
                raise SettingError(name, both[0], "a text with one meaning", "Name all of right, wrong and no_answer")
        if partial_credit not in (None, "drop") and (
            isinstance(partial_credit, str) or not math.isfinite(partial_credit or 0)
        ):
            raise SettingError("partial_credit", partial_credit, "a number, drop or null")
        return words

    def read(self, columns: Columns, name: str) -> Marks:
        """Return the marks of a column.

        Raises:
            DataError: a text means nothing.
        """
        codes, texts = columns.categories(name)
        marks = np.array([self._mark(text) for text in texts], np.float64)
        unknown = np.isnan(marks)
        if unknown.any() and (bad := unknown[codes]).any():
            row = int(np.argmax(bad))
            raise columns.error(name, row, self._problem(texts[codes[row]]))
        partial = np.array([self._credit(text) is not None for text in texts], bool)
        mark = marks[codes] if len(codes) else np.zeros(0)
        partly = partial[codes] if len(codes) else np.zeros(0, bool)
        counts = {
            "dropped: no answer": int((mark == _NO_ANSWER).sum()),
            "dropped: partial credit": int((mark == _DROPPED).sum()),
            "partial credit taken as right": int((partly & (mark == 1)).sum()),
            "partial credit taken as wrong": int((partly & (mark == 0)).sum()),
        }
        return Marks((mark == 1).astype(np.uint8), mark >= 0, {name: count for name, count in counts.items() if count})

    def _mark(self, text: str) -> float:
        word = _word(text)
        for words, mark in ((self.right, 1), (self.wrong, 0), (self.no_answer, _NO_ANSWER)):
            if word in words:
                return mark
        credit = self._credit(text)
        if credit is not None and self.partial_credit is not None:
            return _DROPPED if self.partial_credit == "drop" else float(credit >= self.partial_credit)
        return 0 if OTHERS in self.wrong and word else math.nan

    def _credit(self, text: str) -> float | None:
        """Return the number between those of wrong and right answers that a text is, else None."""
        value, wrong, right = _number(text), _numbers(self.wrong) or [0.0], _numbers(self.right) or [1.0]
        return value if value is not None and min(wrong) < value < max(right) else None

    def _problem(self, text: str) -> str:
        if self.partial_credit is None and self._credit(text) is not None:
            advice = "say what partial credit counts as with --data.partial_credit (a number, or drop)"
        else:
            advice = "name texts with --data.right, --data.wrong or --data.no_answer"
        expected = " or ".join(", ".join(sorted(words)) for words in (self.wrong, self.right))
        return f"expected {expected}, got {quoted(text)}; {advice}"


def _word(text: str) -> str:
    return plain_id(text).lower()


def _words(texts: Texts) -> frozenset[str]:
    several = [texts] if isinstance(texts, bool | int | float | str) else texts
    return frozenset(_word(str(one)) for one in several)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _numbers(words: frozenset[str]) -> list[float]:
    return [value for value in map(_number, words) if value is not None]
