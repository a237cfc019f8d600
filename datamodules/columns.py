"""Columns of text as ids, numbers, answers and dates; what is none becomes an error that names file, row and column.

Rows are counted as a spreadsheet does: the header is row 1. Empty lines are passed over and not counted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lpr_lightning.datamodules.table import Array, natural_key
from lpr_lightning.errors import DataError

_ANSWERS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
_INTEGER = re.compile(r"[+-]?\d+(\.0*)?")


class Columns:
    """Columns of text of one file, or of one piece of it that begins at `first_row`."""

    def __init__(self, file: Path, values: Mapping[str, pa.Array | pa.ChunkedArray], first_row: int = 2) -> None:
        self.file = file
        self._values = values
        self._first_row = first_row

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __len__(self) -> int:
        return len(next(iter(self._values.values())))

    def error(self, name: str, row: int, problem: str) -> DataError:
        """Return the error for the value of column `name` at position `row`."""
        return DataError(self.file, problem, row=row + self._first_row, column=name)

    def array(self, name: str) -> Array:
        """Return a column that was read as numbers."""
        values: Array = self._values[name].to_numpy(zero_copy_only=False)
        return values

    def categories(self, name: str) -> tuple[Array, list[str]]:
        """Return [R] int32 codes and the distinct texts they number, in order of first appearance."""
        column = self._values[name]
        if isinstance(column, pa.ChunkedArray):
            column = column.unify_dictionaries()
            if not column.num_chunks:
                return np.zeros(0, np.int32), []
            codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in column.chunks])
            return codes.astype(np.int32, copy=False), column.chunk(0).dictionary.to_pylist()
        return column.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False), column.dictionary.to_pylist()

    def cells(self, name: str) -> list[str]:
        """Return the texts of a column, row by row, without outer spaces."""
        codes, texts = self.categories(name)
        return [texts[code].strip() for code in codes.tolist()]

    def names(self, name: str, canonical: Callable[[str], str] = str.strip) -> tuple[Array, list[str]]:
        """Return [R] int32 codes and the distinct names, made `canonical`, in natural order."""
        codes, texts = self.categories(name)
        clean = [canonical(text) for text in texts]
        distinct = sorted(set(clean), key=natural_key)
        number = {one: i for i, one in enumerate(distinct)}
        return np.array([number[one] for one in clean], np.int32)[codes] if len(codes) else codes, distinct

    def required_names(self, name: str, canonical: Callable[[str], str] = str.strip) -> tuple[Array, list[str]]:
        """Return the same as `names`, but refuse empty cells."""
        codes, names = self.names(name, canonical)
        if "" in names:
            raise self.error(name, int(np.argmax(codes == names.index(""))), "the cell is empty")
        return codes, names

    def mapped(self, name: str, convert: Callable[[str], int | None], expected: str, dtype: type = np.int64) -> Array:
        """Return the column through `convert`, which gives None for a text that is not `expected`."""
        codes, texts = self.categories(name)
        values = [convert(text.strip()) for text in texts]
        if None in values:
            bad = np.isin(codes, [i for i, value in enumerate(values) if value is None])
            if bad.any():
                row = int(np.argmax(bad))
                raise self.error(name, row, f"expected {expected}, got {quoted(texts[codes[row]])}")
            values = [0 if value is None else value for value in values]
        return np.array(values, dtype)[codes] if len(codes) else np.zeros(0, dtype)

    def integers(self, name: str) -> Array:
        """Return [R] int64; `7`, `7.0` and `-7` are whole numbers."""
        return self.mapped(name, whole_number, "a whole number of at most 18 digits")

    def answers(self, name: str) -> Array:
        """Return [R] uint8 of 0 and 1 (also written `true`, `false`, `1.0`)."""
        return self.mapped(name, lambda text: _ANSWERS.get(text.lower()), "0 or 1", np.uint8)

    def moments(self, name: str) -> tuple[Array, bool]:
        """Return a column of numbers or dates as something to sort by, and whether it is dates.

        Whole numbers come as int64, other numbers as float64, dates like `2019-03-02 00:01:00` as int64 microseconds.
        """
        codes, texts = self.categories(name)
        clean = pd.Series([text.strip() for text in texts], dtype=object)
        whole = clean.map(whole_number)
        if not whole.isna().any():
            return whole.to_numpy(np.int64)[codes] if len(codes) else np.zeros(0, np.int64), False
        numbers = pd.to_numeric(clean, errors="coerce").to_numpy(np.float64)
        if np.isfinite(numbers).all():
            return numbers[codes], False
        dates = pd.to_datetime(clean, format="ISO8601", errors="coerce", utc=True)
        bad = np.flatnonzero(dates.isna() if np.isnan(numbers).all() else np.isnan(numbers) | ~np.isfinite(numbers))
        if len(bad):
            row = int(np.argmax(np.isin(codes, bad)))
            expected = "a number, or a date such as 2019-03-02 00:01:00"
            raise self.error(name, row, f"expected {expected}, got {quoted(texts[codes[row]])}")
        return dates.dt.as_unit("us").astype(np.int64).to_numpy()[codes], True


def whole_number(text: str) -> int | None:
    """Return the whole number that `text` is, else None.

    >>> whole_number("12.0"), whole_number("x"), whole_number("1.5")
    (12, None, None)
    """
    if not _INTEGER.fullmatch(text) or not text.isascii():
        return None
    value = int(text.partition(".")[0])
    return value if abs(value) < 10**18 else None


def quoted(text: str) -> str:
    """Return `text` in quotes, its end left out where it is long.

    >>> quoted("maybe"), len(quoted("x" * 1000))
    ("'maybe'", 63)
    """
    return repr(text if len(text) <= 60 else text[:60] + "…")


def canonical_id(text: str) -> str:
    """Return an id without the spaces and the `.0` that tables grow on their way.

    >>> canonical_id(" 12.0 "), canonical_id("x.0")
    ('12', 'x.0')
    """
    value = whole_number(text.strip())
    return text.strip() if value is None else str(value)


def unknown_concept(text: str, vocabulary: Mapping[str, int]) -> str:
    """Return what is wrong with a concept's name that is not in the vocabulary, and which names are close.

    >>> unknown_concept("Sum", {"Sums": 0, "Graphs": 1})
    "the concept 'Sum' is not known; the closest: 'Sums'"
    """
    return unknown_name(text, vocabulary, "concept")


def unknown_name(text: str, vocabulary: Mapping[str, int], what: str) -> str:
    """Return the same of the name of something else, such as a question."""
    if not text:
        return f"expected a {what}, the cell is empty"
    close = difflib.get_close_matches(text, vocabulary, n=3, cutoff=0.5)
    near = " or ".join(map(repr, close)) if close else "one of " + ", ".join(list(vocabulary)[:5]) + ", …"
    return f"the {what} {quoted(text)} is not known; the closest: {near}"
