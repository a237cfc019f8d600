"""Next-answer sequences: what a knowledge tracer is trained and judged on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.types import Examples, InteractionBatch, Interactions, Split


@dataclass(frozen=True)
class NextAnswers:
    """Cuts each learner's log into consecutive windows of at most `max_length` answers.

    A window of a single answer holds no next answer and is left out. Windows of a learner share no answer, so that
    each answer is predicted once at most; the first answer of a window is never predicted from the window before.

    >>> log = Interactions.from_lists([[(0, 1), (1, 0), (2, 1), (0, 0), (1, 1)], [(1, 1)]])
    >>> examples = NextAnswers(max_length=3).examples(log, "train", num_concepts=3, seed=0)
    >>> examples.sizes
    tensor([3, 2])
    >>> examples.batch(torch.tensor([1])).concept.squeeze(-1)
    tensor([[0, 1]])

    Raises:
        SettingError: `max_length` is below 2.
    """

    max_length: int = 200

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise SettingError(
                "max_length", self.max_length, "at least 2 answers", "a window needs an answer to predict"
            )

    def examples(self, log: Interactions, split: Split, num_concepts: int, seed: int) -> Examples:
        """Return the windows of every learner, in the order of the log; the same for every split and seed."""
        lengths = log.lengths
        count = (lengths + self.max_length - 1) // self.max_length
        learner = torch.arange(log.num_learners, device=lengths.device).repeat_interleave(count)
        place = torch.arange(len(learner), device=lengths.device) - (count.cumsum(0) - count)[learner]
        start = place * self.max_length
        stop = (start + self.max_length).minimum(lengths[learner])
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
        return self.log.batch(self.learner[index], self.start[index], self.stop[index])
