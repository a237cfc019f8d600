"""Short windows of a learner's answers, to learn from what comes after a moment without reading it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.types import PAD, InteractionBatch


@dataclass(frozen=True)
class AnswerWindows:
    """The K answers that follow each of S moments of B learners, W = B * S windows.

    `start` [B, S] int64: answers given before the window; `concept` [W, K, C] int64, -1 where unused and after the
    log's end; `correct` [W, K]; `live` [W, K] bool, True on real answers; `item` [W, K] int64, -1 where unused.

    >>> from lpr_lightning.types import Interactions
    >>> batch = Interactions.from_lists([[(0, 1), (2, 0), (0, 1)]]).batch(torch.tensor([0]))
    >>> AnswerWindows.of(batch, torch.tensor([[0, 2]]), length=2).concept.squeeze(-1).tolist()
    [[0, 2], [0, -1]]
    """

    start: Tensor
    concept: Tensor
    correct: Tensor
    live: Tensor
    item: Tensor

    @classmethod
    def of(cls, batch: InteractionBatch, start: Tensor, length: int) -> AnswerWindows:
        """Return the windows of `length` answers that follow the first `start` [B, S] answers of each row."""
        place = start[..., None] + torch.arange(length, device=start.device)
        live = place < batch.lengths[:, None, None]
        row = torch.arange(len(batch), device=start.device)[:, None, None]
        at = row, place.clamp_max(batch.mask.shape[1] - 1)
        concept, correct = batch.concept[at].masked_fill(~live[..., None], PAD), batch.correct[at] * live
        item = batch.item[at].masked_fill(~live, PAD)
        return cls(start, concept.flatten(0, 1), correct.flatten(0, 1), live.flatten(0, 1), item.flatten(0, 1))


def random_starts(batch: InteractionBatch, count: int, draws: Draws) -> Tensor:
    """Return `count` moments before one of the answers of each row, [B, count]; 0 in an empty row.

    >>> from lpr_lightning.types import Interactions
    >>> batch = Interactions.from_lists([[(0, 1)], [(0, 1)] * 9]).batch(torch.arange(2))
    >>> starts = random_starts(batch, 5, Draws.of(0, 0, batch.learner))
    >>> starts.amax(1) < batch.lengths
    tensor([True, True])
    """
    return draws.integers(batch.lengths.clamp_min(1)[:, None], count)
