"""A separate set of test learners: in the vocabulary and the numbers of the training set, no learner in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.types import PAD


def with_vocabulary(
    table: AnswerTable, items: Sequence[str], concepts: Sequence[str], first_learner: int
) -> AnswerTable:
    """Return `table` in the numbers of another one; answers on concepts it does not know are dropped and counted.

    Unknown items become -1 and are counted. Its learners are numbered from `first_learner` on.
    """
    log = table.log
    concept = _translation(table.concepts, concepts)[log.concept.long()]
    item = _translation(table.items, items)[log.item.long()]
    known = (concept == PAD).eq(log.concept == PAD).all(1)
    row_learner = log.owner
    lengths = torch.bincount(row_learner[known], minlength=log.num_learners)
    log = replace(
        log,
        offsets=torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
        learner=log.learner + first_learner,
        item=item[known],
        concept=concept[known],
        correct=log.correct[known],
        time=None if log.time is None else log.time[known],
    )
    counts = dict(table.counts)
    counts["dropped: concept not in the training set"] = int((~known).sum())
    counts["unknown: item not in the training set"] = int((log.item == PAD).sum())
    return replace(table, log=log, items=list(items), concepts=list(concepts), counts=counts)


def without_learners(table: AnswerTable, others: AnswerTable) -> AnswerTable:
    """Leave out of `table` the learners that are in `others` too: the same name and the same answers.

    `others` must be in `table`'s numbers.
    """
    place = {name: position for position, name in enumerate(others.learners)}
    twice = [n for n, name in enumerate(table.learners) if name in place and _same(table, n, others, place[name])]
    if not twice:
        return table
    keep = torch.ones(table.log.num_learners, dtype=torch.bool)
    keep[twice] = False
    dropped = int(table.log.lengths[~keep].sum())
    counts = table.counts | {"dropped: learner is in the test set": dropped}
    return replace(table, log=table.log.select(keep), counts=counts)


def _same(a: AnswerTable, learner: int, b: AnswerTable, other: int) -> bool:
    first = slice(int(a.log.offsets[learner]), int(a.log.offsets[learner + 1]))
    second = slice(int(b.log.offsets[other]), int(b.log.offsets[other + 1]))
    length = min(first.stop - first.start, second.stop - second.start)
    return length > 0 and (
        torch.equal(a.log.item[first][:length], b.log.item[second][:length])
        and torch.equal(a.log.correct[first][:length], b.log.correct[second][:length])
    )


def _translation(names: Sequence[str], target: Sequence[str]) -> Tensor:
    """Return the number in `target` of each of `names`, -1 where it is none, and -1 for -1 itself."""
    number = {name: position for position, name in enumerate(target)}
    return torch.tensor([*(number.get(name, PAD) for name in names), PAD], dtype=torch.int32)
