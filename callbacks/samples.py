"""A few roll-outs to look at one by one."""

from __future__ import annotations

from dataclasses import replace

import torch

from lpr_lightning.types import Rollout


def first_paths(rollout: Rollout, count: int) -> list[Rollout]:
    """Return up to `count` roll-outs of one row each: the first path of the first groups."""
    rows = torch.arange(0, len(rollout), max(rollout.group_size, 1), device=rollout.path.device)[: max(count, 0)]
    single = replace(rollout, group_size=1)
    return [single.select(row[None]) for row in rows]


def title(rollout: Rollout, row: int = 0) -> str:
    """Return who it was: the learner's number, or a stranger."""
    learner = int(rollout.learner[row])
    return f"learner {learner}" if learner >= 0 else "a new learner"
