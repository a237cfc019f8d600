"""Logs in other forms than one table: a file for each learner, and three lines for each learner."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from lpr_lightning.datamodules.cells import quoted
from lpr_lightning.datamodules.columns import Columns
from lpr_lightning.datamodules.delimited import read_columns
from lpr_lightning.datamodules.source import open_source
from lpr_lightning.errors import DataError, MissingFileError

_BLOCK = 1000
LEARNER = "(learner)"
"""The column that a form without one gets: the name of the file, or the learner's place in it."""


def learner_files(root: str | Path, pattern: str) -> list[Path]:
    """Return the files below `root` that `pattern` names, in the order of their names.

    Raises:
        MissingFileError: there is none.
    """
    folder = Path(root).expanduser()
    found = sorted(path for path in folder.glob(pattern) if path.is_file()) if folder.is_dir() else []
    if not found:
        raise MissingFileError(pattern, folder, "give the folder as --data.root, its files as --data.learner_files")
    return found


def read_learner_files(
    paths: Sequence[Path], required: Sequence[str], encoding: str, separator: str, quoting: bool
) -> Columns:
    """Read one file for each learner, who goes by its name without the ending; files without an answer are left out.

    Raises:
        DataError: names the file and the row.
    """
    sizes: list[int] = []
    blocks: list[Columns] = []
    for begin in range(0, len(paths), _BLOCK):
        block = [read_columns(path, required, (), encoding, separator, quoting) for path in paths[begin:][:_BLOCK]]
        sizes += map(len, block)
        blocks.append(Columns(paths[begin], {name: Columns.joined(block, name) for name in required}))
    starts = np.cumsum([0, *sizes])

    def place(name: str, row: int) -> tuple[Path, int]:
        file = int(np.searchsorted(starts, row, side="right")) - 1
        return paths[file], row - int(starts[file]) + 2

    names = [path.name.partition(".")[0] for path in paths]
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise DataError(paths[0].parent, f"two files are named {quoted(twice)}, which is the learner's name")
    values = {name: Columns.joined(blocks, name) for name in required}
    whole = Columns(paths[0], values, place=place)
    return whole.plus(LEARNER, np.repeat(np.arange(len(paths)), sizes), names)


def read_three_lines(path: Path, encoding: str, names: Sequence[str]) -> Columns:
    """Read three lines for each learner: how many answers, what was asked, what was right; the last is `names[-1]`.

    Each of the other `names` gets what was asked. Learners go by their place in the file, from 1.

    Raises:
        DataError: a line lacks values or one of the three lines is missing; names the line.
    """
    with open_source(path) as file:
        try:
            text = file.read().decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
        except UnicodeDecodeError as error:
            raise DataError(path, f"the text is not {encoding.upper()}; name its encoding") from error
    lines = [(number, cells) for number, cells in enumerate(csv.reader(io.StringIO(text)), start=1) if cells]
    if len(lines) % 3 or not lines:
        raise DataError(path, f"expected three lines for each learner, found {len(lines)} lines in all")
    learner: list[str] = []
    asked: list[str] = []
    answers: list[str] = []
    rows: list[tuple[int, int]] = []
    for begin in range(0, len(lines), 3):
        (first, count), (second, item), (third, correct) = lines[begin : begin + 3]
        item, correct = _values(item), _values(correct)
        if (len(count) != 1 and count[1:] != [""]) or not count[0].strip().isdecimal():
            raise DataError(path, f"expected the number of answers, got {quoted(','.join(count))}", row=first)
        for line, found in ((second, item), (third, correct)):
            if len(found) != int(count[0]):
                raise DataError(path, f"expected {int(count[0])} values as line {first} says, got {len(found)}", line)
        learner += [str(begin // 3 + 1)] * len(item)
        asked += item
        answers += correct
        rows += [(second, third)] * len(item)

    def place(name: str, row: int) -> tuple[Path, int]:
        return path, rows[row][name == names[-1]]

    columns = {LEARNER: learner} | dict.fromkeys(names[:-1], asked) | {names[-1]: answers}
    texts = {name: pa.array(values, pa.string()).dictionary_encode() for name, values in columns.items()}
    return Columns(path, texts, place=place)


def _values(cells: list[str]) -> list[str]:
    """Return the values of a line, without the empty one behind a last comma."""
    return cells[:-1] if cells and not cells[-1].strip() else cells
