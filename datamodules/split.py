"""Learners, never rows, are split into train, validation and test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lpr_lightning.datamodules.separate_test import with_vocabulary, without_learners
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.types import PAD, Interactions, Split


@dataclass(frozen=True)
class LearnerSplit:
    """Which learners are left out, and how the others are divided into train, validation and test.

    Args:
        fractions: shares of learners for train, val and test.
        min_answers: learners with fewer answers are left out and counted.
        max_learners: take this many learners of a seeded shuffle; None for all. Separate test learners all stay.
        seed: of the shuffles.
        folds: test one of this many folds instead; None for a split by `fractions` alone.
        fold: the fold that is tested, from 0.
        keep_unseen_items: items that no training learner answered stay as they are in val and test.

    Raises:
        SettingError: the shares do not sum to 1.
    """

    fractions: tuple[float, ...]
    min_answers: int = 3
    max_learners: int | None = None
    seed: int = 0
    folds: int | None = None
    fold: int = 0
    keep_unseen_items: bool = False

    def __post_init__(self) -> None:
        check_fractions(self.fractions)

    def parts(self, table: AnswerTable, test: AnswerTable | None) -> tuple[dict[Split, Interactions], dict[str, int]]:
        """Return the logs of each split, and what was left out of `table` and of the separate `test` by reason.

        Where there is a `test`, its learners are the test learners, and `table`'s are divided into train and val by
        the relative shares of both. Items that no training learner answered are counted and, unless
        `keep_unseen_items`, -1 in val and test.
        """
        fractions = self.fractions
        if test is not None:
            test = with_vocabulary(test, table.items, table.concepts, len(table.learners))
            table = without_learners(table, test)
            seen = fractions[0] + fractions[1]
            fractions = fractions[0] / seen, fractions[1] / seen, 0.0
        counts = dict(table.counts)
        if test is not None:
            counts |= {f"test set: {reason}": count for reason, count in test.counts.items()}
        learners = first_learners(self._long_enough(table.log, counts), self.max_learners, self.seed)
        if self.folds is None:
            cut = split_learners(learners, fractions, self.seed)
        else:
            cut = fold_learners(learners, fractions, self.seed, self.folds, self.fold)
        train, val, tested = (table.log.select(part) for part in cut)
        if test is not None:
            tested = test.log.select(self._long_enough(test.log, counts, "test set: "))
        parts: dict[Split, Interactions] = {"train": train, "val": val, "test": tested}
        marked, counts = _unseen_marked(parts, table, counts)
        return (parts if self.keep_unseen_items else marked), counts

    def _long_enough(self, log: Interactions, counts: dict[str, int], where: str = "") -> Tensor:
        """Return the positions of the learners with answers enough; count the answers of the others."""
        enough = log.lengths >= self.min_answers
        if not bool(enough.all()):
            reason = f"{where}dropped: learner with fewer than {self.min_answers} answers"
            counts[reason] = int(log.lengths[~enough].sum())
        return enough.nonzero().squeeze(1)


def _unseen_marked(
    parts: dict[Split, Interactions], table: AnswerTable, counts: dict[str, int]
) -> tuple[dict[Split, Interactions], dict[str, int]]:
    """Return the logs with items that training learners never answered as -1, and those and their concepts counted."""
    items = _met(parts["train"].item, len(table.items))
    concepts = _met(parts["train"].concept, len(table.concepts))
    marked = dict(parts)
    held_out: tuple[Split, ...] = ("val", "test")
    for split in held_out:
        log = parts[split]
        unseen = ~items[log.item.long()]
        if bool(unseen.any()):
            counts[f"{split}: answers on an item unseen in training"] = int(unseen.sum())
            marked[split] = replace(log, item=log.item.masked_fill(unseen, PAD))
        if strange := int((~concepts[log.concept.long()]).any(1).sum()):
            counts[f"{split}: answers on a concept unseen in training"] = strange
    return marked, counts


def _met(numbers: Tensor, count: int) -> Tensor:
    """Return which of `count` numbers occur, and at the end True, where -1 points."""
    met = torch.zeros(count + 1, dtype=torch.bool)
    met[numbers.long().flatten()] = True
    met[-1] = True
    return met


def check_fractions(split: Sequence[float]) -> None:
    """Refuse anything but three shares that sum to 1.

    Raises:
        SettingError: `split` is something else, or has no share for training.
    """
    right = len(split) == 3 and all(math.isfinite(share) and share >= 0 for share in split)
    if not right or abs(sum(split) - 1) > 1e-6 or split[0] == 0:
        raise SettingError("split", list(split), "three shares of train, val and test that sum to 1", "Try 0.7 0.1 0.2")


def check_folds(folds: int | None, fold: int, own_test: bool) -> None:
    """Refuse folds that cannot be made.

    Args:
        folds: number of folds, or None for none.
        fold: which of them is tested, from 0.
        own_test: whether there is a separate set of test learners.

    Raises:
        SettingError: `folds` is below 2, `fold` is none of them, or the test learners are given already.
    """
    if folds is None:
        if fold != 0:
            raise SettingError("fold", fold, "0 where there are no folds", "Give folds too, such as 5")
        return
    checked("folds", folds, 2, advice="Leave it out to split by shares alone")
    if not 0 <= fold < folds:
        raise SettingError("fold", fold, f"a number from 0 to {folds - 1}", f"There are {folds} folds")
    if own_test:
        raise SettingError("folds", folds, "none beside test_root", "The learners of test_root are the test learners")


def split_learners(learners: Tensor, split: Sequence[float], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Shuffle `learners` by `seed` and cut them into train, val and test, each in ascending order.

    A part with a share above 0 gets one learner at least where there are enough.

    >>> split_learners(torch.arange(10), (0.7, 0.1, 0.2), seed=0)
    (tensor([0, 1, 3, 4, 5, 7, 9]), tensor([8]), tensor([2, 6]))
    """
    count = len(learners)
    order = learners[torch.randperm(count, generator=torch.Generator().manual_seed(seed))]
    wanted = [0 if share == 0 else max(1, round(share * count)) for share in split[1:]]
    while sum(wanted) > max(count - 1, 0):
        wanted[wanted.index(max(wanted))] -= 1
    train = count - sum(wanted)
    parts = order[:train], order[train : train + wanted[0]], order[train + wanted[0] :]
    return parts[0].sort().values, parts[1].sort().values, parts[2].sort().values


def fold_learners(
    learners: Tensor, split: Sequence[float], seed: int, folds: int, fold: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return train, val and test learners of one of several folds, each in ascending order.

    The folds are pieces of one shuffle by `seed`, alike in size: every learner is a test learner of exactly one of
    them. Those of the other folds are cut into train and val by the relative shares of `split`; validation learners
    come first in the shuffle after the fold's own, so that they change from fold to fold.

    Raises:
        SettingError: there are fewer learners than folds.

    >>> fold_learners(torch.arange(10), (0.7, 0.1, 0.2), seed=0, folds=5, fold=1)
    (tensor([0, 1, 2, 4, 6, 8, 9]), tensor([3]), tensor([5, 7]))
    """
    if len(learners) < folds:
        raise SettingError("folds", folds, f"at most {len(learners)}, the number of learners")
    order = learners[torch.randperm(len(learners), generator=torch.Generator().manual_seed(seed))]
    pieces = order.tensor_split(folds)
    rest = torch.cat([*pieces[fold + 1 :], *pieces[:fold]])
    share = split[1] / (split[0] + split[1])
    val = 0 if share == 0 else min(max(1, round(share * len(rest))), len(rest) - 1)
    return rest[val:].sort().values, rest[:val].sort().values, pieces[fold].sort().values


def first_learners(learners: Tensor, most: int | None, seed: int) -> Tensor:
    """Return the first `most` learners of a shuffle by `seed`, in ascending order; all of them where `most` is None."""
    if most is None or most >= len(learners):
        return learners
    generator = torch.Generator().manual_seed(seed + 1)
    return learners[torch.randperm(len(learners), generator=generator)[:most]].sort().values
