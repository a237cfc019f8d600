"""Sequence files of the pyKT form: a row is a piece of a learner's log, its cells lists joined by commas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lpr_lightning.datamodules.columns import Columns, canonical_id, quoted, whole_number
from lpr_lightning.datamodules.delimited import read_columns
from lpr_lightning.datamodules.rows import concept_sets, repeats
from lpr_lightning.datamodules.table import AnswerTable, Array, build_table, concept_matrix, grouped, natural_key
from lpr_lightning.types import PAD

_LISTS = ("questions", "concepts", "responses")
_TELLING = 3
"""Answers that a piece must have to be known again without times."""
_MORE: tuple[str, ...] = ("timestamps", "selectmasks", "is_repeat")


@dataclass(frozen=True)
class Sequences:
    """One file, unfolded and without padding: each value stands in row `piece` of the file; `learner` names the rows.

    `question` numbers `questions`, and `cell` numbers `cells`, lists of concepts.
    `repeat` is True on a further concept of the answer before; `context` counts values that only repeat another row's.
    """

    learner: list[str]
    piece: Array
    question: Array
    questions: list[str]
    cell: Array
    cells: list[list[str]]
    response: Array
    timestamp: Array | None
    repeat: Array
    context: int


def read_sequences(path: Path) -> Sequences:
    """Read one file.

    Raises:
        DataError: lists of one row differ in length, or hold something else than they should.
    """
    columns = read_columns(path, ("uid", *_LISTS), _MORE)
    lists = {name: _unfold(columns, name) for name in (*_LISTS, *_MORE) if name in columns}
    sizes = lists["responses"][0]
    for name, (own, _) in lists.items():
        if (own != sizes).any():
            row = int(np.argmax(own != sizes))
            raise columns.error(name, row, f"the cell holds {own[row]} values, but responses holds {sizes[row]}")
    piece = np.repeat(np.arange(len(sizes)), sizes)

    def numbers(name: str, otherwise: int) -> Array:
        return _numbers(columns, name, lists[name][1], piece) if name in lists else np.full(len(piece), otherwise)

    response, chosen = numbers("responses", 0), numbers("selectmasks", 1) != -1
    odd = ~np.isin(response, (PAD, 0, 1))
    if odd.any():
        at = int(np.argmax(odd))
        raise columns.error("responses", int(piece[at]), f"expected 0, 1 or -1, got {response[at]}")
    keep = np.flatnonzero((response != PAD) & chosen)
    learner = columns.cells("uid")
    if "" in learner:
        raise columns.error("uid", learner.index(""), "the cell is empty")
    question, questions = _parts(columns, "questions", lists["questions"][1].take(pa.array(keep)), piece[keep], "")
    cell, cells = _parts(columns, "concepts", lists["concepts"][1].take(pa.array(keep)), piece[keep], "_")
    return Sequences(
        learner=[canonical_id(text) for text in learner],
        piece=piece[keep],
        question=question,
        questions=[ids[0] for ids in questions],
        cell=cell,
        cells=cells,
        response=response[keep],
        timestamp=numbers("timestamps", 0)[keep] if "timestamps" in lists else None,
        repeat=numbers("is_repeat", 0)[keep] == 1,
        context=int(((response != PAD) & ~chosen).sum()),
    )


def sequences_table(files: Sequence[Sequences], concepts: Sequence[str]) -> AnswerTable:
    """Put the pieces of each learner together, and the rows of each answer; `concepts` are known beforehand.

    Pieces come in the order of their first times where there are any, else in the order of the file. An answer that an
    earlier piece of the learner holds already, in the same file or another, counts once: known by its time; without
    times, where whole pieces of three answers or more are equal.
    """
    before = np.cumsum([0, *(len(file.learner) for file in files)])
    piece = np.concatenate([file.piece + start for file, start in zip(files, before, strict=False)])
    stamps = [file.timestamp for file in files if file.timestamp is not None]
    time = np.concatenate(stamps) if len(stamps) == len(files) else None
    response = np.concatenate([file.response for file in files]).astype(np.uint8)
    repeat = np.concatenate([file.repeat for file in files])
    number_of, questions = grouped([name for file in files for name in file.questions])
    question = number_of[_joined([file.question for file in files], [len(file.questions) for file in files])]
    all_cells = [cell for file in files for cell in file.cells]
    named = sorted({one for cell in all_cells for one in cell} | set(concepts), key=natural_key)
    number = {name: place for place, name in enumerate(named)}
    cells = concept_matrix([[number[one] for one in cell] for cell in all_cells])
    cell = _joined([file.cell for file in files], [len(file.cells) for file in files])
    owner, learners = grouped([name for file in files for name in file.learner])

    begin = np.zeros(int(before[-1]), np.int64)
    if time is not None and len(piece):
        first = np.unique(piece, return_index=True)
        begin[first[0]] = time[first[1]]
    rank = np.empty(len(begin), np.int64)
    rank[np.lexsort((begin, owner))] = np.arange(len(begin))
    rows = np.argsort(rank[piece], kind="stable")

    telling = time if time is not None and len(time) and time.min() < time.max() else None
    again = _again(owner[piece], piece, telling, (question, _numbered(cells)[cell], response, repeat))[rows]
    read, rows = len(rows), rows[~again]
    learner, question, cells = owner[piece[rows]], question[rows], cells[cell[rows]]
    start = np.ones(len(rows), bool)
    start[1:] = ~repeat[rows][1:] | (learner[1:] != learner[:-1]) | (question[1:] != question[:-1])
    concept = concept_sets(np.cumsum(start) - 1, cells, int(start.sum()), len(named))
    known = (concept != PAD).any(1) if len(concept) else np.zeros(0, bool)
    chosen = np.flatnonzero(start)[known]
    return build_table(
        learner[chosen],
        learners,
        question[chosen],
        questions,
        concept[known],
        named,
        named,
        response[rows][chosen],
        time=None if time is None else time[rows][chosen],
        counts={
            "rows read": read + sum(file.context for file in files),
            "dropped: answer of another row of the same learner": int(again.sum()),
            "dropped: context that repeats another row": sum(file.context for file in files),
            "dropped: no concept": int((~known).sum()),
            "merged: further concept of the same answer": int((~start).sum()),
        },
    )


def _numbered(cells: Array) -> Array:
    """Return one number for each row of concepts, the same for equal rows."""
    return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1) if len(cells) else np.zeros(0, np.int64)


def _again(owner: Array, piece: Array, time: Array | None, values: Sequence[Array]) -> Array:
    """Return which values an earlier piece of the same learner holds already; pieces ascend."""
    if time is not None:
        within = repeats(piece, time, *values)
        return repeats(owner, time, *values) - within > within
    again = np.zeros(len(piece), bool)
    table = np.stack(values, 1).astype(np.int64)
    known: set[tuple[int, bytes]] = set()
    for begin, end in zip(*_spans(piece)):
        content = int(owner[begin]), table[begin:end].tobytes()
        again[begin:end] = content in known and end - begin >= _TELLING
        known.add(content)
    return again


def _spans(piece: Array) -> tuple[list[int], list[int]]:
    """Return where each piece begins and ends."""
    cuts = np.flatnonzero(piece[1:] != piece[:-1]) + 1
    return [0, *cuts.tolist()] if len(piece) else [], [*cuts.tolist(), len(piece)] if len(piece) else []


def _joined(codes: Sequence[Array], sizes: Sequence[int]) -> Array:
    """Put codes of several vocabularies one after another into codes of the vocabularies one after another."""
    starts = np.cumsum([0, *sizes])
    return np.concatenate([one + start for one, start in zip(codes, starts, strict=False)])


def _unfold(columns: Columns, name: str) -> tuple[Array, pa.StringArray]:
    """Return how many values each cell of a column holds, and all values one after another."""
    codes, texts = columns.categories(name)
    cells = pc.split_pattern(pa.array(texts, pa.string()), ",").take(pa.array(codes))
    return pc.list_value_length(cells).to_numpy(zero_copy_only=False), cells.flatten()


def _numbers(columns: Columns, name: str, values: pa.StringArray, piece: Array) -> Array:
    """Return values as int64."""
    values = pc.utf8_trim_whitespace(values)
    try:
        numbers: Array = values.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return numbers
    except pa.ArrowInvalid:
        parsed = [whole_number(text) for text in values.to_pylist()]
    if None in parsed:
        at = parsed.index(None)
        raise columns.error(name, int(piece[at]), f"expected whole numbers, got {quoted(values[at].as_py())}")
    return np.array(parsed, np.int64)


def _parts(
    columns: Columns, name: str, values: pa.StringArray, piece: Array, separator: str
) -> tuple[Array, list[list[str]]]:
    """Return a code for each value and the list of ids that each code stands for; -1 stands for none."""
    coded = values.dictionary_encode()
    texts = coded.dictionary.to_pylist()
    codes: Array = coded.indices.to_numpy(zero_copy_only=False)
    parts = [[canonical_id(one) for one in (text.split(separator) if separator else [text])] for text in texts]
    for place, ids in enumerate(parts):
        if any(not one or (separator and one != str(PAD) and not one.isdecimal()) for one in ids):
            row = int(piece[int(np.argmax(codes == place))])
            raise columns.error(name, row, f"expected ids, got {quoted(texts[place])}")
    return codes, [[one for one in ids if one != str(PAD) or not separator] for ids in parts]
