"""Is every learner in one split only, and in the test of one fold only?"""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.datamodules.split import check_folds, fold_learners, split_learners
from lpr_lightning.errors import SettingError

LEARNERS = torch.arange(100, 123)


@pytest.mark.parametrize("folds", [2, 5, 23])
def test_every_learner_is_tested_in_exactly_one_fold(folds: int) -> None:
    parts = [fold_learners(LEARNERS, (0.7, 0.1, 0.2), 3, folds, fold) for fold in range(folds)]
    tested = torch.cat([test for _, _, test in parts])
    assert tested.sort().values.tolist() == LEARNERS.tolist()
    for train, val, test in parts:
        assert torch.cat([train, val, test]).sort().values.tolist() == LEARNERS.tolist()
        assert abs(len(test) - len(LEARNERS) / folds) < 1


def test_the_others_are_divided_by_the_relative_shares() -> None:
    train, val, test = fold_learners(torch.arange(1000), (0.6, 0.2, 0.2), 0, 5, 2)
    assert (len(train), len(val), len(test)) == (600, 200, 200)
    train, val, _ = fold_learners(torch.arange(1000), (0.9, 0.0, 0.1), 0, 5, 2)
    assert (len(train), len(val)) == (800, 0)
    train, val, _ = fold_learners(torch.arange(2), (0.5, 0.5, 0.0), 0, 2, 0)
    assert (len(train), len(val)) == (1, 0)


def test_the_seed_chooses_the_folds_and_nothing_else_does() -> None:
    one = fold_learners(LEARNERS, (0.7, 0.1, 0.2), 1, 5, 0)[2]
    assert one.equal(fold_learners(LEARNERS, (0.5, 0.4, 0.1), 1, 5, 0)[2])
    assert not one.equal(fold_learners(LEARNERS, (0.7, 0.1, 0.2), 2, 5, 0)[2])


def test_shares_give_disjoint_parts() -> None:
    parts = split_learners(LEARNERS, (0.7, 0.1, 0.2), 0)
    assert torch.cat(parts).sort().values.tolist() == LEARNERS.tolist()


@pytest.mark.parametrize(
    ("folds", "fold", "own_test", "name"),
    [
        (1, 0, False, "folds=1"),
        (5, 5, False, "fold=5"),
        (5, -1, False, "fold=-1"),
        (None, 1, False, "fold=1"),
        (5, 0, True, "folds=5"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(folds: int | None, fold: int, own_test: bool, name: str) -> None:
    with pytest.raises(SettingError, match=name):
        check_folds(folds, fold, own_test)


def test_more_folds_than_learners_are_refused() -> None:
    with pytest.raises(SettingError, match=r"folds=24.*23"):
        fold_learners(LEARNERS, (0.7, 0.1, 0.2), 0, 24, 0)
