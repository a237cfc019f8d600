"""From rows to interactions: sorted quickly, and the rows of one answer merged into one interaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lpr_lightning.datamodules.table import Array, ascending
from lpr_lightning.types import PAD


@dataclass(frozen=True)
class MergedRows:
    """Answers in the order of learner, then time: `row` [A] is the first row of each, `concept` [A, C] its concepts."""

    row: Array
    concept: Array
    counts: dict[str, int]


def merge_rows(
    learner: Array, order: Array, item: Array, correct: Array, cell: Array, cells: Array, concepts: int
) -> MergedRows:
    """Make one answer of all rows that share `learner` and `order`.

    `cell` [R] says which row of `cells` [cells, C] holds a row's concepts, of which there are `concepts` in all. Rows
    that repeat another are removed; rows that contradict the first of their answer in item or correctness too.

    >>> zero = np.zeros(3, int)
    >>> merge_rows(zero, np.array([5, 5, 4]), zero, zero, np.array([1, 0, 1]), np.array([[0], [1]]), 2).concept
    array([[ 1, -1],
           [ 0,  1]], dtype=int32)
    """
    rows = np.lexsort((order, learner))
    learner, order, item, correct, cell = learner[rows], order[rows], item[rows], correct[rows], cell[rows]
    first = np.ones(len(rows), bool)
    first[1:] = (learner[1:] != learner[:-1]) | (order[1:] != order[:-1])
    answer = np.cumsum(first) - 1
    start = np.flatnonzero(first)

    agrees = (item == item[start][answer]) & (correct == correct[start][answer])
    agreeing = np.flatnonzero(agrees)
    fresh = agreeing[np.unique(answer[agreeing] * max(len(cells), 1) + cell[agreeing], return_index=True)[1]]
    counts = {
        "dropped: exact duplicate": len(agreeing) - len(fresh),
        "dropped: contradicts an earlier row of the same answer": len(rows) - len(agreeing),
        "merged: further concept of the same answer": len(fresh) - len(start),
    }
    return MergedRows(rows[start], concept_sets(answer[fresh], cells[cell[fresh]], len(start), concepts), counts)


def answer_numbers(order: Array, *keys: Array) -> Array:
    """Number answers by `order`, ties by the order of the rows; rows of equal `order` and `keys` are one answer.

    >>> answer_numbers(np.array([9, 5, 5, 9]), np.array([1, 7, 3, 1]))
    array([2, 0, 1, 2])
    """
    rows, new = _runs(order, *keys)
    first = rows[new]
    rank = np.empty(len(first), np.int64)
    rank[np.lexsort((first, order[first]))] = np.arange(len(first))
    number = np.empty(len(rows), np.int64)
    number[rows] = rank[np.cumsum(new) - 1]
    return number


def repeats(*keys: Array) -> Array:
    """Return how many rows before each one have the same `keys`.

    >>> repeats(np.array([4, 7, 4, 4]))
    array([0, 0, 1, 2])
    """
    rows, new = _runs(*keys)
    place = np.arange(len(rows))
    number = np.empty(len(rows), np.int64)
    number[rows] = place - np.maximum.accumulate(np.where(new, place, 0))
    return number


def _runs(*keys: Array) -> tuple[Array, Array]:
    """Return the positions of rows sorted by `keys`, then place, and where a new combination of keys begins."""
    rows = np.lexsort(tuple(reversed(keys)))
    new = np.ones(len(rows), bool)
    for position, key in enumerate(keys):
        differs = key[rows][1:] != key[rows][:-1]
        new[1:] = differs if position == 0 else new[1:] | differs
    return rows, new


def concept_sets(answer: Array, cells: Array, answers: int, concepts: int) -> Array:
    """Return the distinct concepts of each answer, ascending, as [answers, C]; row r tells of answer `answer[r]`."""
    pairs = np.unique((answer[:, None] * concepts + cells)[cells != PAD])
    owner, concept = pairs // max(concepts, 1), pairs % max(concepts, 1)
    sizes = np.bincount(owner, minlength=answers)
    column = np.arange(len(pairs)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    matrix = np.full((answers, int(sizes.max()) if answers else 1), PAD, np.int32)
    matrix[owner, column] = concept
    return matrix


def combinations(concept: Array, ids: Sequence[str], names: Sequence[str]) -> tuple[Array, list[str], list[str]]:
    """Make each set of concepts that occurs one concept of its own, in the order of its numbers.

    >>> combinations(np.array([[1, -1], [0, 1], [1, -1]]), ["7", "9"], ["Area", ""])[1:]
    (['7_9', '9'], ['Area + 9', '9'])
    """
    if not len(concept):
        return concept[:, :1], [], []
    sets, number = np.unique(concept, axis=0, return_inverse=True)
    parts = [[one for one in row if one != PAD] for row in sets.tolist()]
    raw = ["_".join(ids[one] for one in row) for row in parts]
    titles = [" + ".join(names[one] or ids[one] for one in row) for row in parts]
    return number.reshape(-1, 1).astype(np.int32), raw, titles


def order_by(group: Array, time: Array) -> Array:
    """Return the positions of rows sorted by `group` (0, 1, …), then `time`, then place; by counting, not comparing.

    >>> order_by(np.array([1, 0, 1]), np.array([5, 9, 4]))
    array([1, 2, 0])
    """
    rows = np.arange(len(time)) if ascending(time) else _radix(time - time.min())
    return rows[_radix(group[rows])]


def _radix(values: Array) -> Array:
    """Return the stable order of numbers that are not negative, 16 bits at a time."""
    rows = np.argsort(values.astype(np.uint16), kind="stable")
    top = int(values.max(initial=0)) >> 16
    shift = 16
    while top:
        rows = rows[np.argsort((values[rows] >> shift).astype(np.uint16), kind="stable")]
        top >>= 16
        shift += 16
    return rows
