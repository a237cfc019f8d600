"""Requests for exercises: learners after their first answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lpr_lightning.errors import checked, checked_or_none
from lpr_lightning.protocols import Examples
from lpr_lightning.tasks.cut_requests import CutRequests
from lpr_lightning.types import Interactions, Split


@dataclass(frozen=True)
class ExerciseRequests:
    """Takes the first answers of a log as the history, and asks for the next few exercises (ExRec, section 5).

    In the paper a learner starts after 100 answers and is given 10 exercises. Further starts of the same learner lie
    `stride` answers further on, as long as the log has `length` answers behind them, so that what the learner really
    did next is known. Histories are the fronts of whole logs. The targets are the concepts of these next answers, for
    goals that take a request's; other goals choose their own.

    Differs from the paper:
    1. Learners come from their own split; the authors' code tests on learners that the tracer was trained on.

    Args:
        length: exercises wanted.
        history: answers before the first start.
        starts: most starts of each learner; None for as many as the log has.
        stride: answers from one start to the next; None: `length`.
        max_requests: of more requests, a seeded random choice is taken.

    Raises:
        SettingError: an argument is below 1 (`history`: below 0).

    >>> log = Interactions.from_lists([[(c, 1) for c in range(7)], [(0, 1)]])
    >>> examples = ExerciseRequests(length=2, history=3, starts=None).examples(log, "test", 7, seed=0)
    >>> request = examples.batch(torch.arange(2))
    >>> request.history.lengths, request.targets[1].nonzero().flatten()
    (tensor([3, 5]), tensor([5, 6]))
    """

    length: int = 10
    history: int = 100
    starts: int | None = 1
    stride: int | None = None
    max_requests: int | None = None

    def __post_init__(self) -> None:
        checked("length", self.length, 1)
        checked("history", self.history, 0)
        for name, value in (("starts", self.starts), ("stride", self.stride), ("max_requests", self.max_requests)):
            checked_or_none(name, value, 1)

    def examples(self, log: Interactions, split: Split, num_concepts: int, seed: int) -> Examples:
        """Return the requests of one split; the same for the same seed."""
        stride, left = self.stride or self.length, log.lengths - self.history - self.length
        count = torch.where(left >= 0, left // stride + 1, 0)
        count = count if self.starts is None else count.clamp_max(self.starts)
        learner = torch.arange(log.num_learners, device=count.device).repeat_interleave(count)
        number = torch.arange(len(learner), device=count.device) - (count.cumsum(0) - count)[learner]
        if self.max_requests is not None and len(learner) > self.max_requests:
            generator = torch.Generator().manual_seed(seed)
            chosen = torch.randperm(len(learner), generator=generator)[: self.max_requests].sort().values
            learner, number = learner[chosen], number[chosen]
        history = self.history + number * stride
        length = torch.full_like(history, self.length)
        start, stop = torch.zeros_like(history), history + length
        return CutRequests(log, num_concepts, learner, start, history, history, stop, length)
