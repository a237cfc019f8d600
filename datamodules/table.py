"""A whole data set as one table of answers with its vocabularies: what every reader makes and the cache stores."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lpr_lightning.types import PAD, Interactions

Array = npt.NDArray[Any]
_NUMBER = re.compile(r"-?\d{1,18}")


@dataclass(frozen=True)
class AnswerTable:
    """Answers of all learners, the raw names behind the numbers, and what was left out on the way.

    `log.learner` counts 0, 1, … through `learners`. `concepts` are raw names, `concept_names` readable ones; `counts`
    says how many rows were read and how many were dropped or merged, by reason; `prerequisites` [E, 2] int64 holds
    edges (before, after) and `item_texts` the questions' wording, one for each item, where the data set has them.
    """

    log: Interactions
    learners: list[str]
    items: list[str]
    concepts: list[str]
    concept_names: list[str]
    counts: dict[str, int] = field(default_factory=dict)
    prerequisites: Tensor | None = None
    item_texts: list[str] = field(default_factory=list)


def natural_key(name: str) -> tuple[int, int, str]:
    """Sort key that takes whole numbers as numbers and puts them before other names.

    >>> sorted(["10", "b", "9", "a"], key=natural_key)
    ['9', '10', 'a', 'b']
    """
    return (0, int(name), name) if _NUMBER.fullmatch(name) else (1, 0, name)


def grouped(names: Sequence[str]) -> tuple[Array, list[str]]:
    """Return the distinct names in natural order and each name's number among them.

    >>> grouped(["10", "9", "10"])
    (array([1, 0, 1], dtype=int32), ['9', '10'])
    """
    distinct = sorted(set(names), key=natural_key)
    number = {name: i for i, name in enumerate(distinct)}
    return np.fromiter((number[name] for name in names), np.int32, len(names)), distinct


def concept_matrix(sets: Sequence[Sequence[int]]) -> Array:
    """Return lists of concepts side by side as [R, C] int32, -1 where unused.

    >>> concept_matrix([[3], [1, 2]])
    array([[ 3, -1],
           [ 1,  2]], dtype=int32)
    """
    width = max((len(one) for one in sets), default=1)
    matrix = np.full((len(sets), max(width, 1)), PAD, np.int32)
    for row, one in enumerate(sets):
        matrix[row, : len(one)] = one
    return matrix


def readable(names: Sequence[str], raw: Sequence[str]) -> list[str]:
    """Return one distinct readable name for each raw one: repeated names get the raw one behind them.

    >>> readable(["Area", "Area", ""], ["85", "163", "7"])
    ['Area (85)', 'Area (163)', '7']
    """
    filled = [name or one for name, one in zip(names, raw, strict=True)]
    seen: dict[str, int] = {}
    for name in filled:
        seen[name] = seen.get(name, 0) + 1
    return [f"{name} ({one})" if seen[name] > 1 else name for name, one in zip(filled, raw, strict=True)]


def ascending(values: Array) -> bool:
    """True where no value is below the one before it."""
    return len(values) < 2 or bool((values[1:] >= values[:-1]).all())


def compact(values: Array) -> tuple[Array, Array]:
    """Return whole numbers renumbered 0, 1, … in their order, and the distinct ones.

    >>> compact(np.array([30, 10, 30]))
    (array([1, 0, 1], dtype=int32), array([10, 30]))
    """
    if not len(values):
        return np.zeros(0, np.int32), values
    low, high = int(values.min()), int(values.max())
    if high - low > 16 * len(values) + 1_000_000:
        distinct, codes = np.unique(values, return_inverse=True)
        return codes.astype(np.int32), distinct
    used = np.zeros(high - low + 1, bool)
    used[values - low] = True
    if used.all():
        return (values - low).astype(np.int32, copy=False), np.arange(low, high + 1)
    number = np.cumsum(used, dtype=np.int32) - 1
    return number[values - low], np.flatnonzero(used) + low


def build_table(
    learner: Array,
    learners: Sequence[str],
    item: Array,
    items: Sequence[str],
    concept: Array,
    concepts: Sequence[str],
    concept_names: Sequence[str],
    correct: Array,
    order: Sequence[Array] = (),
    time: Array | None = None,
    counts: dict[str, int] | None = None,
    prerequisites: Tensor | None = None,
    texts: Mapping[str, str] | None = None,
) -> AnswerTable:
    """Sort coded rows by learner, then by `order` (first key first, file order last), and leave out unused names.

    `learner` and `item` [R] number `learners` and `items`; `concept` [R, C] numbers `concepts`, -1 where unused.
    Learners and items without a row are left out; concepts all stay. `texts` holds the wording of items by their name.
    """
    if len(order) or not ascending(learner):
        rows = np.lexsort((*reversed(order), learner)) if len(order) else np.argsort(learner, kind="stable")
        learner, item, concept, correct = learner[rows], item[rows], concept[rows], correct[rows]
        time = None if time is None else time[rows]
    present, sizes = _present(learner, len(learners))
    item, used = compact(item)
    item_names = [items[i] for i in used.tolist()]
    log = Interactions(
        offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)),
        learner=torch.arange(len(present)),
        item=torch.from_numpy(item.astype(np.int32, copy=False)),
        concept=torch.from_numpy(np.ascontiguousarray(concept, dtype=np.int32)),
        correct=torch.from_numpy(correct.astype(np.uint8, copy=False)),
        time=None if time is None else torch.from_numpy(time.astype(np.int64, copy=False)),
    )
    return AnswerTable(
        log=log,
        learners=[learners[i] for i in present.tolist()],
        items=item_names,
        concepts=list(concepts),
        concept_names=list(concept_names),
        counts=dict(counts or {}),
        prerequisites=prerequisites,
        item_texts=[] if texts is None else [texts.get(name, "") for name in item_names],
    )


def _present(codes: Array, count: int) -> tuple[Array, Array]:
    """Return the codes that occur and how often each does."""
    sizes = np.bincount(codes, minlength=count)
    present = np.flatnonzero(sizes)
    return present, sizes[present]
