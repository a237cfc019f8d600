"""Learners, never rows, are split into train, validation and test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError


def check_fractions(split: Sequence[float]) -> None:
    """Refuse anything but three shares that sum to 1.

    Raises:
        SettingError: `split` is something else, or has no share for training.
    """
    right = len(split) == 3 and all(math.isfinite(share) and share >= 0 for share in split)
    if not right or abs(sum(split) - 1) > 1e-6 or split[0] == 0:
        raise SettingError("split", list(split), "three shares of train, val and test that sum to 1", "Try 0.7 0.1 0.2")


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


def first_learners(learners: Tensor, most: int | None, seed: int) -> Tensor:
    """Return the first `most` learners of a shuffle by `seed`, in ascending order; all of them where `most` is None."""
    if most is None or most >= len(learners):
        return learners
    generator = torch.Generator().manual_seed(seed + 1)
    return learners[torch.randperm(len(learners), generator=generator)[:most]].sort().values
