"""Strict columnar reading of delimited text: the wanted columns, or one error that names file, row and column.

Rows are counted as a spreadsheet does: the header is row 1. Empty lines are passed over and not counted.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from lpr_lightning.datamodules.source import open_source
from lpr_lightning.datamodules.table import Array, natural_key
from lpr_lightning.errors import DataError

_ANSWERS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
_INTEGER = re.compile(r"[+-]?\d+(\.0*)?")
_BLOCK = 1 << 24
Kind = Literal["integer", "truth"]
_HEADER = 1 << 16


class Columns:
    """Columns of text of one file, or of one piece of it that begins at `first_row`."""

    def __init__(self, file: Path, values: dict[str, Any], first_row: int = 2) -> None:
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


def read_header(path: Path, encoding: str = "utf-8", delimiter: str = ",") -> list[str]:
    """Return the column names of a file as they are meant: without byte-order mark, quotes and outer spaces."""
    with open_source(path) as file:
        return [_clean(name) for name in _raw_header(path, file.read(_HEADER), encoding, delimiter)]


def read_columns(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    encoding: str = "utf-8",
    delimiter: str = ",",
) -> Columns:
    """Read the named columns of a delimited file, plain, .gz or .zip; texts may hold line breaks within quotes."""
    try:
        return _read_whole(path, required, optional, encoding, delimiter, threads=True)
    except pa.ArrowInvalid:
        pass
    try:
        return _read_whole(path, required, optional, encoding, delimiter, threads=False)  # now with row numbers
    except pa.ArrowInvalid as error:
        raise _explained(path, error, read_header(path, encoding, delimiter)) from error


def stream_columns(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    encoding: str = "utf-8",
    delimiter: str = ",",
    kinds: Mapping[str, Kind] | None = None,
    block: int = _BLOCK,
) -> Iterator[Columns]:
    """Read the named columns piece by piece, so that memory stays small; texts hold no line breaks.

    Columns named in `kinds` come as numbers (`Columns.array`), which is fast but takes no other form of them.
    """
    row = 2
    try:
        for piece in _stream(path, required, optional, encoding, delimiter, kinds, block, row, threads=True):
            yield piece
            row += len(piece)
        return
    except pa.ArrowInvalid:
        pass
    try:
        for _ in _stream(path, required, optional, encoding, delimiter, kinds, block, row, threads=False):
            pass  # once more, for the number of the row
    except pa.ArrowInvalid as error:
        raise _explained(path, error, read_header(path, encoding, delimiter)) from error


def _stream(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str],
    encoding: str,
    delimiter: str,
    kinds: Mapping[str, Kind] | None,
    block: int,
    row: int,
    threads: bool,
) -> Iterator[Columns]:
    with open_source(path) as file:
        stream, raw = _rewound(path, file, encoding, delimiter)
        options = _options(path, raw, required, optional, encoding, delimiter, kinds)
        options["read_options"].block_size = block
        options["read_options"].use_threads = threads
        try:
            for batch in pa_csv.open_csv(stream, **options):
                names = [_clean(name) for name in batch.schema.names]
                yield Columns(path, dict(zip(names, batch.columns, strict=True)), row)
                row += batch.num_rows
        except UnicodeDecodeError as error:
            raise _undecodable(path, encoding, error) from error


def _read_whole(
    path: Path, required: Sequence[str], optional: Sequence[str], encoding: str, delimiter: str, threads: bool
) -> Columns:
    with open_source(path) as file:
        stream, raw = _rewound(path, file, encoding, delimiter)
        options = _options(path, raw, required, optional, encoding, delimiter)
        options["read_options"].use_threads = threads
        options["parse_options"].newlines_in_values = True
        try:
            table = pa_csv.read_csv(stream, **options)
        except UnicodeDecodeError as error:
            raise _undecodable(path, encoding, error) from error
    return Columns(path, {_clean(name): table.column(name) for name in table.schema.names})


def _rewound(path: Path, file: IO[bytes], encoding: str, delimiter: str) -> tuple[IO[bytes], list[str]]:
    """Return the stream at its beginning, any byte-order mark skipped, and the raw column names."""
    head = file.read(_HEADER)
    raw = _raw_header(path, head, encoding, delimiter)
    file.seek(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
    return file, raw


def _raw_header(path: Path, head: bytes, encoding: str, delimiter: str) -> list[str]:
    if not head.strip():
        raise DataError(path, "the file is empty")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and "16" not in encoding:
        raise DataError(path, "the text is UTF-16; save it as UTF-8")
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head.removeprefix(codecs.BOM_UTF8))
    except UnicodeDecodeError as error:
        raise _undecodable(path, encoding, error, head.count(b"\n", 0, error.start) + 1) from error
    if "\0" in text:
        raise DataError(path, "the file holds zero bytes; it is no text in " + encoding)
    try:
        return next(csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=delimiter))
    except (csv.Error, StopIteration) as error:
        raise DataError(path, f"the header cannot be read ({error})", row=1) from error


def _options(
    path: Path,
    raw: list[str],
    required: Sequence[str],
    optional: Sequence[str],
    encoding: str,
    delimiter: str,
    kinds: Mapping[str, Kind] | None = None,
) -> dict[str, Any]:
    """Choose the wanted columns of the header `raw` and how they are read."""
    clean = [_clean(name) for name in raw]
    for name in required:
        if name not in clean:
            raise DataError(path, f"the column is missing; there are {', '.join(clean)[:300]}", row=1, column=name)
    wanted = [name for name in (*required, *optional) if name in clean]
    for name in wanted:
        if clean.count(name) > 1:
            raise DataError(path, "the column occurs twice", row=1, column=name)
    text = pa.dictionary(pa.int32(), pa.string())
    known = {"integer": pa.int64(), "truth": pa.bool_()}
    types = {raw[clean.index(name)]: known[kinds[name]] if kinds and name in kinds else text for name in wanted}
    return {
        "read_options": pa_csv.ReadOptions(encoding="utf8" if _is_utf8(encoding) else encoding, block_size=_BLOCK),
        "parse_options": pa_csv.ParseOptions(delimiter=delimiter),
        "convert_options": pa_csv.ConvertOptions(
            column_types=types, include_columns=list(types), strings_can_be_null=False, null_values=[]
        ),
    }


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")


def _clean(name: str) -> str:
    return name.strip().strip("\ufeff").strip('"').strip()


def _explained(path: Path, error: Exception, header: list[str]) -> DataError:
    """Turn a parser's complaint into ours."""
    text = str(error).splitlines()[0][:200]
    found = re.search(r"Row #(\d+): ", text)
    row = int(found[1]) if found else None
    number = re.search(r"CSV column #(\d+)", text)
    column = header[int(number[1])] if number and int(number[1]) < len(header) else None
    if ragged := re.search(r"Expected (\d+) columns, got (\d+)", text):
        return DataError(path, f"expected {ragged[1]} cells, got {ragged[2]}", row=row)
    if "invalid UTF8" in text:
        return DataError(path, "the text is not UTF-8; name its encoding or save it as UTF-8", row=row, column=column)
    if value := re.search(r"conversion error to (\w+): invalid value '(.*)", text):
        expected = "true or false" if value[1] == "bool" else "a whole number"
        return DataError(path, f"expected {expected}, got {quoted(value[2].rstrip(chr(39)))}", row=row, column=column)
    return DataError(path, text, row=row, column=column)


def _undecodable(path: Path, encoding: str, error: UnicodeDecodeError, row: int | None = None) -> DataError:
    problem = f"the text is not {encoding.upper()} ({error.reason}); name its encoding or save it as UTF-8"
    return DataError(path, problem, row=row)
