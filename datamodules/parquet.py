"""Parquet files as columns of text, and workbooks recognised."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lpr_lightning.datamodules.columns import Columns
from lpr_lightning.errors import DataError

MAGIC = b"PAR1"
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How .xlsx and .ods, and how .xls begin; an archive that is one is unpacked before."""


def refuse_workbook(path: Path, head: bytes) -> None:
    """Refuse a file that begins as a workbook does.

    Raises:
        DataError: says how to save it as a table.
    """
    if head.startswith(_WORKBOOKS):
        raise DataError(path, "this is a workbook (or an archive); save its sheet as CSV (UTF-8) and give that file")


def parquet_columns(path: Path, wanted: Callable[[list[str]], list[str]], types: Mapping[str, pa.DataType]) -> Columns:
    """Read the columns that `wanted` picks from the file's names: numbers where `types` says so, else as text.

    Numbers are written out, lists in brackets; a missing value becomes an empty text.

    Raises:
        DataError: the file is damaged, or a column holds what cannot be written out.
    """
    names = wanted(parquet_names(path))
    try:
        table = pq.read_table(path, columns=names, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    columns: dict[str, pa.ChunkedArray] = {}
    for name in names:
        try:
            columns[name] = _number(table[name], types[name]) if name in types else _text(table[name])
        except (pa.ArrowException, TypeError) as error:
            raise DataError(path, f"the column cannot be read ({_short(error)})", column=name) from error
    return Columns(path, columns)


def parquet_names(path: Path) -> list[str]:
    """Return the names of a parquet file's columns."""
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(path, f"the parquet file is damaged, or packed in an archive ({_short(error)})")


def _number(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.null_count:
        raise pa.ArrowInvalid("a value is missing")
    return column.cast(kind)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        cells = ["" if one is None else json.dumps(one) for one in column.to_pylist()]
        column = pa.chunked_array([pa.array(cells, pa.string())])
    text: pa.ChunkedArray = column.cast(pa.string()).fill_null("").dictionary_encode()
    return text


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:150]
