"""Columns of text as ids, numbers, answers and dates; what is none becomes an error that names file, row and column.

Rows are counted as a spreadsheet does: the header is row 1. Empty lines are passed over and not counted.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lpr_lightning.datamodules.cells import canonical_id as canonical_id
from lpr_lightning.datamodules.cells import quoted as quoted
from lpr_lightning.datamodules.cells import whole_number as whole_number
from lpr_lightning.datamodules.dates import read_dates
from lpr_lightning.datamodules.table import Array, natural_key
from lpr_lightning.errors import DataError

_ANSWERS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


@dataclass(frozen=True)
class Moments:
    """A column to sort by: whole or other numbers, or dates in microseconds.

    `assumed` is `month first` or `day first` where nothing in the column says which it is, else "".
    """

    values: Array
    dates: bool = False
    assumed: str = ""

    def milliseconds(self, unit: float = 1.0) -> Array:
        """Return [R] int64; numbers come in units of `unit` milliseconds."""
        if self.dates:
            return self.values // 1000
        return np.round(self.values * unit).astype(np.int64)


class Columns:
    """Columns of text of one file, or of one piece of it that begins at `first_row`.

    `place` says which row of which file a column's value at a position is, where a row is not a line of one file.
    """

    def __init__(
        self,
        file: Path,
        values: Mapping[str, pa.Array | pa.ChunkedArray],
        first_row: int = 2,
        place: Callable[[str, int], tuple[Path, int]] | None = None,
    ) -> None:
        self.file = file
        self._values = values
        self._first_row = first_row
        self._place = place

    @staticmethod
    def joined(parts: Sequence[Columns], name: str) -> pa.ChunkedArray:
        """Return a column of text of several files, one after another."""
        chunks: list[pa.Array] = []
        for part in parts:
            column = part._values[name]
            chunks += column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        whole = pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string()))
        return pa.chunked_array([whole.unify_dictionaries().combine_chunks()]) if chunks else whole

    def plus(self, name: str, codes: Array, texts: Sequence[str]) -> Columns:
        """Return these columns and another one of text: [R] codes of `texts`."""
        column = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(texts, pa.string()))
        return Columns(self.file, {**self._values, name: column}, self._first_row, self._place)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __len__(self) -> int:
        return len(next(iter(self._values.values())))

    def error(self, name: str, row: int, problem: str) -> DataError:
        """Return the error for the value of column `name` at position `row`."""
        file, line = (self.file, row + self._first_row) if self._place is None else self._place(name, row)
        return DataError(file, problem, row=line, column=name)

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

    def ids(self, name: str) -> list[str]:
        """Return the ids of a column, row by row; "" where missing."""
        codes, texts = self.categories(name)
        clean = [canonical_id(text) for text in texts]
        return [clean[code] for code in codes.tolist()]

    def names(self, name: str, canonical: Callable[[str], str] = canonical_id) -> tuple[Array, list[str]]:
        """Return [R] int32 codes and the distinct names, made `canonical`, in natural order; "" where missing."""
        codes, texts = self.categories(name)
        clean = [canonical(text) for text in texts]
        distinct = sorted(set(clean), key=natural_key)
        number = {one: i for i, one in enumerate(distinct)}
        return np.array([number[one] for one in clean], np.int32)[codes] if len(codes) else codes, distinct

    def required_names(self, name: str, canonical: Callable[[str], str] = canonical_id) -> tuple[Array, list[str]]:
        """Return the same as `names`, but refuse missing values."""
        codes, names = self.names(name, canonical)
        if "" in names and (missing := codes == names.index("")).any():
            raise self.missing(name, int(np.argmax(missing)))
        return codes, names

    def missing(self, name: str, row: int) -> DataError:
        """Return the error for a value that is missing in column `name` at position `row`."""
        codes, texts = self.categories(name)
        text = texts[codes[row]].strip()
        what = f"{quoted(text)} stands for a missing value" if text else "the cell is empty"
        return self.error(name, row, what)

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

    def moments(self, name: str, day_first: bool | None = None) -> Moments:
        """Return a column of numbers or dates as something to sort by.

        Whole numbers come as int64, other numbers as float64, dates (`dates.read_dates`) as int64 microseconds.
        """
        codes, texts = self.categories(name)
        clean = pd.Series([text.strip() for text in texts], dtype=object)
        whole = clean.map(whole_number)
        if not whole.isna().any():
            return Moments(whole.to_numpy(np.int64)[codes] if len(codes) else np.zeros(0, np.int64))
        numbers = pd.to_numeric(clean, errors="coerce").to_numpy(np.float64)
        if np.isfinite(numbers).all():
            return Moments(numbers[codes])
        none = np.isnan(numbers).all()
        dates = read_dates(clean.tolist(), day_first) if none else None
        bad = np.flatnonzero(~np.isfinite(numbers) if dates is None else dates.bad)
        used = np.isin(codes, bad)
        if dates is None or used.any():
            row = int(np.argmax(used))
            expected = "a number, or a date such as 2019-03-02 00:01:00"
            raise self.error(name, row, f"expected {expected}, got {quoted(texts[codes[row]])}")
        return Moments(dates.microseconds[codes], True, dates.assumed)


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
