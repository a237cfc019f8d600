"""Strict columnar reading of delimited text: the wanted columns, or one error that names file, row and column."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv as pa_csv

from lpr_lightning.datamodules.columns import Columns, quoted
from lpr_lightning.datamodules.source import BinaryFile, open_source
from lpr_lightning.errors import DataError

Kind = Literal["integer", "truth"]
_TYPES = {"integer": pa.int64(), "truth": pa.bool_()}
_BLOCK = 1 << 24
_HEADER = 1 << 16


def read_columns(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    encoding: str = "utf-8",
    delimiter: str = ",",
) -> Columns:
    """Read the named columns of a delimited file, plain, .gz or .zip; texts may hold line breaks within quotes."""
    reader = _Reader(path, required, optional, encoding, delimiter)
    try:
        return reader.whole(threads=True)
    except pa.ArrowInvalid:
        pass
    try:
        return reader.whole(threads=False)  # now with row numbers
    except pa.ArrowInvalid as error:
        raise _explained(path, error, reader.header()) from error


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
    reader = _Reader(path, required, optional, encoding, delimiter, kinds or {}, block)
    try:
        yield from reader.pieces(threads=True)
        return
    except pa.ArrowInvalid:
        pass
    try:
        for _ in reader.pieces(threads=False):
            pass  # once more, for the number of the row
    except pa.ArrowInvalid as error:
        raise _explained(path, error, reader.header()) from error


@dataclass(frozen=True)
class _Reader:
    """One file, the columns wanted of it, and how its text is written."""

    path: Path
    required: Sequence[str]
    optional: Sequence[str]
    encoding: str
    delimiter: str
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    block: int = _BLOCK

    def header(self) -> list[str]:
        """Return the column names of the file, cleaned."""
        with open_source(self.path) as file:
            return [_clean(name) for name in self._header(file.read(_HEADER))]

    def whole(self, threads: bool) -> Columns:
        """Read all rows at once."""
        with open_source(self.path) as file:
            convert, parse = self._begin(file), pa_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True)
            try:
                table = pa_csv.read_csv(file, self._reading(threads), parse, convert)
            except UnicodeDecodeError as error:
                raise self._undecodable(error) from error
        return Columns(self.path, {_clean(name): table.column(name) for name in table.schema.names})

    def pieces(self, threads: bool) -> Iterator[Columns]:
        """Read the rows block by block."""
        row = 2
        with open_source(self.path) as file:
            convert, parse = self._begin(file), pa_csv.ParseOptions(delimiter=self.delimiter)
            try:
                for batch in pa_csv.open_csv(file, self._reading(threads), parse, convert):
                    names = [_clean(name) for name in batch.schema.names]
                    yield Columns(self.path, dict(zip(names, batch.columns, strict=True)), row)
                    row += batch.num_rows
            except UnicodeDecodeError as error:
                raise self._undecodable(error) from error

    def _reading(self, threads: bool) -> pa_csv.ReadOptions:
        utf8 = codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig", "ascii")
        return pa_csv.ReadOptions(
            encoding="utf8" if utf8 else self.encoding, block_size=self.block, use_threads=threads
        )

    def _begin(self, file: BinaryFile) -> pa_csv.ConvertOptions:
        """Choose the wanted columns by the header; leave `file` at its beginning, any byte-order mark skipped."""
        head = file.read(_HEADER)
        raw = self._header(head)
        file.seek(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
        clean = [_clean(name) for name in raw]
        for name in self.required:
            if name not in clean:
                there = ", ".join(clean)[:300]
                raise DataError(self.path, f"the column is missing; there are {there}", row=1, column=name)
        wanted = [name for name in (*self.required, *self.optional) if name in clean]
        for name in wanted:
            if clean.count(name) > 1:
                raise DataError(self.path, "the column occurs twice", row=1, column=name)
        text = pa.dictionary(pa.int32(), pa.string())
        types = {raw[clean.index(name)]: _TYPES[self.kinds[name]] if name in self.kinds else text for name in wanted}
        return pa_csv.ConvertOptions(
            column_types=types, include_columns=list(types), strings_can_be_null=False, null_values=[]
        )

    def _header(self, head: bytes) -> list[str]:
        """Return the column names at the beginning of a file as they stand there."""
        if not head.strip():
            raise DataError(self.path, "the file is empty")
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and "16" not in self.encoding:
            raise DataError(self.path, "the text is UTF-16; save it as UTF-8")
        try:
            text = codecs.getincrementaldecoder(self.encoding)().decode(head.removeprefix(codecs.BOM_UTF8))
        except UnicodeDecodeError as error:
            raise self._undecodable(error, head.count(b"\n", 0, error.start) + 1) from error
        if "\0" in text:
            raise DataError(self.path, "the file holds zero bytes; it is no text in " + self.encoding)
        try:
            return next(csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=self.delimiter))
        except (csv.Error, StopIteration) as error:
            raise DataError(self.path, f"the header cannot be read ({error})", row=1) from error

    def _undecodable(self, error: UnicodeDecodeError, row: int | None = None) -> DataError:
        name = self.encoding.upper()
        problem = f"the text is not {name} ({error.reason}); name its encoding or save it as UTF-8"
        return DataError(self.path, problem, row=row)


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
