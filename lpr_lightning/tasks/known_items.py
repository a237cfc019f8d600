"""A part of the questions, as if the others were not there yet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.protocols import Examples
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.types import Interactions, Split


@dataclass(frozen=True)
class KnownItems:
    """Makes next answers of a random part of the questions; the others are left out.

    What is fitted then has never seen an answer to the other questions: if it knows questions by their vectors, they
    enter as vectors only (ExRec, section 6.1, whose questions are written by a language model instead).

    Args:
        task: windows of answers.
        share: of the questions that are known, in (0, 1].
        seed: of the choice.

    Raises:
        SettingError: `share` is out of range.

    >>> log = Interactions.from_lists([[(item, 1) for item in range(6)]])
    >>> task = KnownItems(share=0.5)
    >>> known_items(torch.arange(6), task.share, task.seed).sum() < 6
    tensor(True)
    """

    task: NextAnswers = field(default_factory=NextAnswers)
    share: float = 1 / 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise SettingError("share", self.share, "a share of the questions above 0, up to 1")

    def examples(self, log: Interactions, split: Split, num_concepts: int, seed: int) -> Examples:
        """Return the examples of the answers to known questions."""
        known = known_items(log.item.long(), self.share, self.seed)
        lengths = torch.bincount(log.owner[known], minlength=log.num_learners)
        some = replace(
            log,
            offsets=torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
            item=log.item[known],
            concept=log.concept[known],
            correct=log.correct[known],
            time=None if log.time is None else log.time[known],
        )
        return self.task.examples(some, split, num_concepts, seed)


def known_items(item: Tensor, share: float, seed: int) -> Tensor:
    """Return which questions [...] int64 are known, [...] bool: each with the chance `share`, the same for a seed."""
    return (Draws.of(seed, 0, item.flatten()).uniform() < share).view(item.shape)
