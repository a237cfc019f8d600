from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from lpr_lightning.datamodules.delimited import read_columns, stream_columns
from lpr_lightning.errors import DataError


def file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    return path


def test_names_are_found_behind_marks_quotes_and_spaces(tmp_path: Path) -> None:
    path = file(tmp_path, b'\xef\xbb\xbf"a", b \r\n1,x\r\n\r\n2,y\r\n')
    for encoding in ("utf-8", "latin-1"):
        columns = read_columns(path, ("a", "b"), encoding=encoding)
        assert columns.integers("a").tolist() == [1, 2]
        assert columns.names("b")[1] == ["x", "y"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "log.csv: the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"a,c\n1,2\n", "log.csv, row 1, column 'b': the column is missing; there are a, c"),
        (b"a,b,b\n1,2,3\n", "log.csv, row 1, column 'b': the column occurs twice"),
        (b"a,b\n1,2\n3\n", "log.csv, row 3: expected 2 cells, got 1"),
        (b"a,b\n1,2\n3,4,5\n", "log.csv, row 3: expected 2 cells, got 3"),
        (b"a,b\n1,\xff\n", "the text is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a,b\n1\x00,2\n", "zero bytes"),
        (b"a,b\n1,2\nx,2\n", "log.csv, row 3, column 'a': expected a whole number of at most 18 digits, got 'x'"),
    ],
)
def test_one_error_names_the_place(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_columns(file(tmp_path, content), ("a", "b")).integers("a")
    assert message in str(caught.value)


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(np.random.default_rng(0).bytes(5000).hex().encode())
    path = tmp_path / "log.csv.gz"
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="truncated or damaged"):
        read_columns(path, ("a",))
    path.with_suffix(".zip").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match="truncated or damaged"):
        read_columns(path.with_suffix(".zip"), ("a",))


def test_pieces_know_their_rows(tmp_path: Path) -> None:
    lines = [f"{n},{n % 7}" for n in range(5000)]
    path = file(tmp_path, "\n".join(["a,b", *lines]).encode())
    pieces = list(stream_columns(path, ("a", "b"), kinds={"a": "integer"}, block=1 << 12))
    assert len(pieces) > 3
    assert np.concatenate([piece.array("a") for piece in pieces]).tolist() == list(range(5000))
    assert pieces[1].error("b", 0, "…").row == 2 + len(pieces[0])
    lines[4000] = "x,1"
    path = file(tmp_path, "\n".join(["a,b", *lines]).encode())
    with pytest.raises(DataError, match=r"row 4002, column 'a': .*'x'"):
        list(stream_columns(path, ("a", "b"), kinds={"a": "integer"}, block=1 << 12))
    lines[4000] = "1,1,1"
    path = file(tmp_path, "\n".join(["a,b", *lines]).encode())
    with pytest.raises(DataError, match=r"row 4002: expected 2 cells, got 3"):
        list(stream_columns(path, ("a", "b"), kinds={"a": "integer"}, block=1 << 12))


def test_dates_and_numbers_to_sort_by(tmp_path: Path) -> None:
    path = file(tmp_path, b"a,b,c\n2019-03-02 00:00:01,1.5,3\n2019-03-02T00:00:00.5+00:00,-2,4\n")
    columns = read_columns(path, ("a", "b", "c"))
    found = columns.moments("a")
    dates, are_dates = found.values, found.dates
    assert are_dates
    assert (dates[0] - dates[1]) == 500_000
    assert columns.moments("b").values.tolist() == [1.5, -2]
    assert columns.moments("c").values.dtype == np.int64
    with pytest.raises(DataError, match=r"row 3, column 'a': expected a number, or a date .*'soon'"):
        read_columns(file(tmp_path, b"a\n2019-03-02\nsoon\n"), ("a",)).moments("a")
