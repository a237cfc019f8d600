"""What learners took up next: histories and the paths that followed them in the log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked_or_none
from lpr_lightning.protocols import Examples
from lpr_lightning.types import PAD, InteractionBatch, Interactions, Split, TensorData

Labels = Literal["next", "distinct"]


@dataclass(frozen=True)
class LoggedPaths(TensorData):
    """Histories of H answers, and the L answers that came after them.

    `history` and `future` are `InteractionBatch`es [B, H] and [B, L] without padding, except that the history of a
    training example at the beginning of a log may be shorter. `path` is what a recommender is trained to say,
    `future.correct` what a tracer is.
    """

    history: InteractionBatch
    future: InteractionBatch

    def __len__(self) -> int:
        return len(self.history)

    @property
    def path(self) -> Tensor:
        """The concepts taken up next, [B, L] int64; of an answer on several concepts, the first."""
        return self.future.concept[..., 0]


@dataclass(frozen=True)
class NextPaths:
    """Cuts logs into histories and the paths that followed (arXiv 2507.05295, whose labels are not specified).

    A path is the concepts of `length` consecutive answers; an answer on several concepts counts as its first one (data
    sets with `concepts: combinations` have no such answers). Two readings of what an answer of the log is:

    - `labels="next"`: every logged answer. Learners practise one concept many times in a row, so that such paths
      mostly repeat the last concept.
    - `labels="distinct"`: of consecutive answers on the same concept only the first. It is removed from the log before
      anything is cut, so that the history too is the last `history_length` changes of concept, each with its first
      answer, and a path is what the learner turned to next; concepts may still come back later in a path.

    Windows of `history_length + length` answers are cut one after another from the beginning of each log; a rest is
    left out. Validation and test always use these. Training windows start every `train_stride` answers.

    Args:
        history_length: H, answers in a history (paper: 10).
        length: L, concepts in a path (paper: 3, 5, 7, 9).
        labels: `next` or `distinct`.
        stride: answers from one window to the next; None for windows that share none.
        train_stride: the same for training windows; None for `stride`.
        min_history: training windows may begin with histories of this many answers, at the beginning of a log; None
            for full histories only.

    >>> log = Interactions.from_lists([[(0, 1), (0, 0), (1, 1), (2, 0), (2, 1), (0, 1)]])
    >>> batch = NextPaths(history_length=2, length=2).examples(log, "test", 3, seed=0).batch(torch.tensor([0]))
    >>> batch.history.concept.flatten().tolist(), batch.path.tolist()
    ([0, 1], [[2, 0]])
    >>> batch = NextPaths(2, 2, labels="next").examples(log, "test", 3, seed=0).batch(torch.tensor([0]))
    >>> batch.history.concept.flatten().tolist(), batch.path.tolist()
    ([0, 0], [[1, 2]])

    Raises:
        SettingError: an argument is out of its range.
    """

    history_length: int = 10
    length: int = 5
    labels: Labels = "distinct"
    stride: int | None = None
    train_stride: int | None = None
    min_history: int | None = None

    def __post_init__(self) -> None:
        numbers: dict[str, int | None] = {"history_length": self.history_length, "length": self.length}
        numbers |= {"stride": self.stride, "train_stride": self.train_stride, "min_history": self.min_history}
        for name, value in numbers.items():
            checked_or_none(name, value, 1)
        if self.labels not in ("next", "distinct"):
            raise SettingError("labels", self.labels, "next or distinct")
        if self.min_history is not None and self.min_history > self.history_length:
            raise SettingError("min_history", self.min_history, f"at most history_length={self.history_length}")

    def log(self, log: Interactions) -> Interactions:
        """Return the log that windows are cut from: `log` itself, or one answer for each run on the same concept."""
        return first_of_runs(log) if self.labels == "distinct" else log

    def history(self, history: InteractionBatch) -> InteractionBatch:
        """Return any histories as those of examples are: read as `labels` says, the last `history_length` answers.

        >>> one = Interactions.from_lists([[(0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]]).batch(torch.tensor([0]))
        >>> NextPaths(history_length=2).history(one).concept.flatten(), NextPaths(2, labels="next").history(one).lengths
        (tensor([1, 2]), tensor([2]))
        """
        read = history.mask
        if self.labels == "distinct":
            concept = history.concept[..., 0]
            read = torch.cat([read[:, :1], read[:, 1:] & (concept[:, 1:] != concept[:, :-1])], 1)
        count = read.sum(1, keepdim=True)
        width = min(self.history_length, int(count.max()) if count.numel() else 0)
        steps = torch.arange(width, device=count.device)
        mask = steps < count
        place = (count - width).clamp_min(0) + steps
        place = (~read).to(torch.int8).argsort(dim=1, stable=True).gather(1, place)
        several = place[..., None].expand(-1, -1, history.concept.shape[-1])
        return InteractionBatch(
            concept=torch.where(mask[..., None], history.concept.gather(1, several), PAD),
            item=torch.where(mask, history.item.gather(1, place), PAD),
            correct=torch.where(mask, history.correct.gather(1, place), 0.0),
            mask=mask,
            learner=history.learner,
        )

    def examples(self, log: Interactions, split: Split, num_concepts: int, seed: int) -> Examples:
        """Return the windows of every learner, in the order of the log; the same for every seed."""
        log = self.log(log)
        size = self.history_length + self.length
        stride, least = self.stride or size, self.history_length
        if split == "train":
            stride, least = self.train_stride or stride, self.min_history or least
        lengths = log.lengths
        count = ((lengths - least - self.length) // stride + 1).clamp_min(0)
        learner = torch.arange(log.num_learners, device=lengths.device).repeat_interleave(count)
        place = torch.arange(len(learner), device=lengths.device) - (count.cumsum(0) - count)[learner]
        return PathWindows(log, learner, least + place * stride, self.history_length, self.length)


@dataclass(frozen=True)
class PathWindows:
    """Paths of `length` answers from place `start` [E] on in the logs of learners at positions `learner` [E]."""

    log: Interactions
    learner: Tensor
    start: Tensor
    history_length: int
    length: int

    @property
    def sizes(self) -> Tensor:
        """Number of answers of each window, history and path together, [E] int64."""
        return self.start.clamp_max(self.history_length) + self.length

    def batch(self, index: Tensor) -> LoggedPaths:
        """Return the windows at `index` [B]."""
        learner, start = self.learner[index], self.start[index]
        first = (start - self.history_length).clamp_min(0)
        return LoggedPaths(
            history=self.log.batch(learner, first, start),
            future=self.log.batch(learner, start, start + self.length),
        )


def first_of_runs(log: Interactions) -> Interactions:
    """Return the first answer of each run of consecutive answers that a learner gave on the same concept.

    An answer on several concepts counts as its first one.

    >>> log = first_of_runs(Interactions.from_lists([[(0, 1), (0, 0), (1, 1), (0, 0)], [(0, 1)]]))
    >>> log.offsets, log.concept.squeeze(-1), log.correct
    (tensor([0, 3, 4]), tensor([0, 1, 0, 0], dtype=torch.int32), tensor([1, 1, 0, 1], dtype=torch.uint8))
    """
    concept = log.concept[:, 0]
    learner = log.owner
    new = torch.ones_like(concept, dtype=torch.bool)
    new[1:] = (concept[1:] != concept[:-1]) | (learner[1:] != learner[:-1])
    lengths = torch.bincount(learner[new], minlength=log.num_learners)
    return replace(
        log,
        offsets=torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
        item=log.item[new],
        concept=log.concept[new],
        correct=log.correct[new],
        time=None if log.time is None else log.time[new],
    )
