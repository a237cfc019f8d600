"""Strict columnar reading of delimited text or parquet: the wanted columns, or one error that names the place."""

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
from lpr_lightning.datamodules.parquet import MAGIC, parquet_columns, parquet_names, refuse_workbook
from lpr_lightning.datamodules.quotes import CountedLines, SwallowedRows
from lpr_lightning.datamodules.source import BinaryFile, open_source
from lpr_lightning.errors import DataError

Kind = Literal["integer", "truth"]
_TYPES = {"integer": pa.int64(), "truth": pa.bool_()}
_BLOCK = 1 << 24
_HEADER = 1 << 16
_SEPARATORS = (",", ";", "\t", "|", "~", "#", ":", "^", " ")


def read_columns(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    encoding: str = "utf-8",
    delimiter: str = ",",
    quoting: bool = True,
) -> Columns:
    """Read the named columns of a delimited file, plain, .gz or .zip, or of a parquet file.

    Texts may hold separators and line breaks within quotes, unless `quoting` is off: quotes are then text.
    """
    reader = _Reader(path, required, optional, encoding, delimiter, quoting=quoting)
    if reader.is_parquet():
        return reader.parquet()
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
    if reader.is_parquet():
        yield reader.parquet()
        return
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


def column_names(path: Path, encoding: str = "utf-8", delimiter: str = ",") -> list[str]:
    """Return the names of a file's columns."""
    reader = _Reader(path, (), (), encoding, delimiter)
    return parquet_names(path) if reader.is_parquet() else reader.header()


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
    quoting: bool = True

    def is_parquet(self) -> bool:
        """Return whether the file is a parquet file, whatever its name; refuse a workbook."""
        with open_source(self.path) as file:
            head = file.read(len(MAGIC))
        refuse_workbook(self.path, head)
        return head == MAGIC

    def parquet(self) -> Columns:
        """Read the wanted columns of a parquet file."""
        types = {name: _TYPES[kind] for name, kind in self.kinds.items()}
        return parquet_columns(self.path, lambda names: self._wanted(names), types)

    def header(self) -> list[str]:
        """Return the column names of the file, cleaned."""
        with open_source(self.path) as file:
            return [_clean(name) for name in self._header(file.read(_HEADER))]

    def whole(self, threads: bool) -> Columns:
        """Read all rows at once."""
        with open_source(self.path) as file:
            convert, counted = self._begin(file), CountedLines(file)
            try:
                table = pa_csv.read_csv(counted, self._reading(threads), self._parsing(True), convert)
            except UnicodeDecodeError as error:
                raise self._undecodable(error) from error
        self._check_quotes(table.num_rows, counted)
        return Columns(self.path, {_clean(name): table.column(name) for name in table.schema.names})

    def pieces(self, threads: bool) -> Iterator[Columns]:
        """Read the rows block by block."""
        row = 2
        with open_source(self.path) as file:
            convert, counted = self._begin(file), CountedLines(file)
            try:
                for batch in pa_csv.open_csv(counted, self._reading(threads), self._parsing(False), convert):
                    names = [_clean(name) for name in batch.schema.names]
                    yield Columns(self.path, dict(zip(names, batch.columns, strict=True)), row)
                    row += batch.num_rows
            except UnicodeDecodeError as error:
                raise self._undecodable(error) from error
        self._check_quotes(row - 2, counted)

    def _check_quotes(self, rows: int, counted: CountedLines) -> None:
        """Refuse a file in which a quote has swallowed rows; it is looked through only where there are fewer rows."""
        if not self.quoting or rows + 1 >= counted.lines or '",\n'.encode(self.encoding) != b'",\n':
            return
        names = self.header()
        with open_source(self.path) as file:
            found = SwallowedRows.first(file, self.delimiter.encode(), len(names))
        if found is not None:
            column = names[found.column] if found.column < len(names) else None
            raise DataError(self.path, found.problem, row=found.row, column=column)

    def _parsing(self, line_breaks: bool) -> pa_csv.ParseOptions:
        quote = '"' if self.quoting else False
        return pa_csv.ParseOptions(
            delimiter=self.delimiter, quote_char=quote, newlines_in_values=line_breaks and self.quoting
        )

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
        wanted = self._wanted(clean, head)
        text = pa.dictionary(pa.int32(), pa.string())
        types = {raw[clean.index(name)]: _TYPES[self.kinds[name]] if name in self.kinds else text for name in wanted}
        return pa_csv.ConvertOptions(
            column_types=types, include_columns=list(types), strings_can_be_null=False, null_values=[]
        )

    def _wanted(self, names: list[str], head: bytes = b"") -> list[str]:
        """Return the wanted ones of a file's column names; refuse a file that lacks a required one."""
        for name in self.required:
            if name not in names:
                problem = f"the column is missing; there are {', '.join(names)[:300]}{self._other_separator(head)}"
                raise DataError(self.path, problem, row=1, column=name)
        wanted = [name for name in (*self.required, *self.optional) if name in names]
        for name in wanted:
            if names.count(name) > 1:
                raise DataError(self.path, "the column occurs twice", row=1, column=name)
        return wanted

    def _other_separator(self, head: bytes) -> str:
        """Return a remark where another separator finds more of the required columns in the header."""
        found = {one: self._found(head, one) for one in (*_SEPARATORS, self.delimiter)} if head else {}
        best = max(found, key=lambda one: found[one], default=self.delimiter)
        if not found or found[best] <= found[self.delimiter]:
            return ""
        name = {"\t": "a tab", " ": "a space"}.get(best, best)
        return f". The columns seem to be separated by {name}, not by {self.delimiter!r}"

    def _found(self, head: bytes, delimiter: str) -> int:
        """Return how many of the required columns a separator finds in the header."""
        names = {_clean(name) for name in self._split(self._decoded(head), delimiter)}
        return len(names & set(self.required))

    def _header(self, head: bytes) -> list[str]:
        """Return the column names at the beginning of a file as they stand there."""
        if not head.strip():
            raise DataError(self.path, "the file is empty")
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and "16" not in self.encoding:
            raise DataError(self.path, "the text is UTF-16; save it as UTF-8")
        return self._split(self._decoded(head), self.delimiter)

    def _decoded(self, head: bytes) -> str:
        try:
            text = codecs.getincrementaldecoder(self.encoding)().decode(head.removeprefix(codecs.BOM_UTF8))
        except UnicodeDecodeError as error:
            raise self._undecodable(error, head.count(b"\n", 0, error.start) + 1) from error
        if "\0" in text:
            raise DataError(self.path, "the file holds zero bytes; it is no text in " + self.encoding)
        return text

    def _split(self, text: str, delimiter: str) -> list[str]:
        """Return the cells of the first line."""
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE
        lines = io.StringIO(text.lstrip("\r\n"), newline="")
        try:
            return next(csv.reader(lines, delimiter=delimiter, quoting=quoting))
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
