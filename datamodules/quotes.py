"""Cells in quotes that swallow rows: found, and named by the row and the column where they begin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from lpr_lightning.datamodules.source import BinaryFile

_QUOTE = b'"'
_FEWEST = 4
"""Columns from which on a line with as many cells as a row is taken for one, wherever it stands."""


class CountedLines:
    """A file that counts the lines that are read from it."""

    closed = False

    def __init__(self, file: BinaryFile) -> None:
        self._file = file
        self._breaks, self._last = 0, b"\n"

    def read(self, size: int = -1, /) -> bytes:
        """Read on."""
        content = self._file.read(size)
        if content:
            self._breaks += content.count(b"\n")
            self._last = content[-1:]
        return content

    @property
    def lines(self) -> int:
        """How many lines were read, empty ones too."""
        return self._breaks + (self._last != b"\n")


@dataclass(frozen=True)
class SwallowedRows:
    """A cell whose quote nobody meant: it begins in `row`, counted as a spreadsheet does, and holds `rows` more."""

    row: int
    column: int
    rows: int

    @property
    def problem(self) -> str:
        """What is wrong."""
        below = f" and goes on over {self.rows} lines below" if self.rows else ""
        return f"the cell begins with a quote that nothing closes{below}; close or double it"

    @classmethod
    def first(cls, lines: Iterable[bytes], delimiter: bytes, columns: int) -> Self | None:
        """Return the first such cell of a file of `columns` columns, None where all quotes are in order.

        Cells may hold line breaks. One is found where the file ends within its quotes, where text follows the quote
        that closes it, or where each whole line within it has as many cells as a row.

        >>> SwallowedRows.first([b'a,b\\n', b'1,"x\\n', b'2,y\\n'], b",", 2)
        SwallowedRows(row=2, column=1, rows=1)
        """
        row, column, begun, within = 0, 0, False, []
        for line in lines:
            text = line.rstrip(b"\r\n")
            place = 0
            if begun:
                end = _closing(text, 0)
                if end < 0:
                    within.append(text.count(delimiter))
                    continue
                like_rows = columns >= _FEWEST and bool(within) and set(within) == {columns - 1}
                if like_rows or _follows(text, end, delimiter):
                    return cls(row, column, len(within) + 1)
                begun, place = False, end
            elif text:
                row, column = row + 1, 0
            if _QUOTE not in text:
                continue
            begun, column = _last_cell(text, place, delimiter, column)
            within = []
        return cls(row, column, len(within)) if begun else None


def _follows(text: bytes, end: int, delimiter: bytes) -> bool:
    """Return whether something else than a delimiter follows a closing quote."""
    return end < len(text) and not text.startswith(delimiter, end)


def _closing(text: bytes, place: int) -> int:
    """Return the place behind the quote that closes a cell, -1 where none does."""
    while (place := text.find(_QUOTE, place)) >= 0:
        if not text.startswith(_QUOTE, place + 1):
            return place + 1
        place += 2
    return -1


def _last_cell(text: bytes, place: int, delimiter: bytes, column: int) -> tuple[bool, int]:
    """Return whether a line ends within quotes, and the column where it ends; cells begin at `place`."""
    if place:  # behind a closing quote
        if place == len(text):
            return False, column
        place, column = place + len(delimiter), column + 1
    while True:
        if text.startswith(_QUOTE, place):
            place = _closing(text, place + 1)
            if place < 0:
                return True, column
        place = text.find(delimiter, place)
        if place < 0:
            return False, column
        place, column = place + len(delimiter), column + 1
