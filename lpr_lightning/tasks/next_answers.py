"""Next-answer sequences: what a knowledge tracer is trained and judged on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lpr_lightning.errors import checked_or_none
from lpr_lightning.protocols import Examples
from lpr_lightning.types import InteractionBatch, Interactions, Split


@dataclass(frozen=True)
class NextAnswers:
    """Cuts each learner's log into consecutive windows of at most `max_length` answers.

    A window of a single answer holds no next answer and is left out. Windows of a learner share no answer, so that
    each answer is predicted once at most; the first answer of a window is never predicted from the window before.
    Where validation and test learners get longer windows (`evaluation_length`, at best beyond the longest log), fewer
    of their answers are predicted without what came before.

    Args:
        max_length: answers in a window, at least 2.
        evaluation_length: the same for validation and test learners; `max_length` when not given.

    >>> log = Interactions.from_lists([[(0, 1), (1, 0), (2, 1), (0, 0), (1, 1)], [(1, 1)]])
    >>> examples = NextAnswers(max_length=3).examples(log, "train", num_concepts=3, seed=0)
    >>> examples.sizes
    tensor([3, 2])
    >>> examples.batch(torch.tensor([1])).concept.squeeze(-1)
    tensor([[0, 1]])

    Raises:
        SettingError: a length is below 2.
    """

    max_length: int = 200
    evaluation_length: int | None = None

    def __post_init__(self) -> None:
        for name, length in (("max_length", self.max_length), ("evaluation_length", self.evaluation_length)):
            checked_or_none(name, length, 2, advice="a window needs an answer to predict")

    def examples(self, log: Interactions, split: Split, num_concepts: int, seed: int) -> Examples:
        """Return the windows of every learner, in the order of the log; the same for every seed."""
        lengths = log.lengths
        longest = self.max_length if split == "train" else self.evaluation_length or self.max_length
        count = (lengths + longest - 1) // longest
        learner = torch.arange(log.num_learners, device=lengths.device).repeat_interleave(count)
        place = torch.arange(len(learner), device=lengths.device) - (count.cumsum(0) - count)[learner]
        start = place * longest
        stop = (start + longest).minimum(lengths[learner])
        keep = stop - start >= 2
        return Windows(log, learner[keep], start[keep], stop[keep])


@dataclass(frozen=True)
class Windows:
    """Windows `start:stop` ([E] int64) of the logs of learners at positions `learner` [E]."""

    log: Interactions
    learner: Tensor
    start: Tensor
    stop: Tensor

    @property
    def sizes(self) -> Tensor:
        """Number of answers of each window, [E] int64."""
        return self.stop - self.start

    def batch(self, index: Tensor) -> InteractionBatch:
        """Return the windows at `index` [B], padded on the right."""
        start = self.start[index]
        return replace(self.log.batch(self.learner[index], start, self.stop[index]), start=start)
