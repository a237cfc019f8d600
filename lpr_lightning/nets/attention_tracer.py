"""A knowledge tracer of attention blocks, run over whole logs or one answer at a time with the same parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lpr_lightning.nets.fast_dropout import FastDropout
from lpr_lightning.nets.history_attention import HistoryBlock
from lpr_lightning.nets.rasch_embedding import RaschEmbedding
from lpr_lightning.types import TracerState


class AttentionTracer(nn.Module):
    """Questions look through blocks of attention at the answers before them; a net tells success from what they see.

    State: keys and values of the last `window` answers, [B, layers, W, D] each, aligned to the right, and their number
    [B]. A step costs O(window); nothing earlier is run again. Within every block a question sees the `window` answers
    before it, and positions are relative: steps and whole logs agree however long the log.

    >>> net = AttentionTracer(num_concepts=3, num_items=4, width=8, num_layers=2, num_heads=2, window=2).eval()
    >>> question = net.embedding.question(torch.randint(3, (1, 6, 1)))
    >>> correct = torch.ones(1, 6)
    >>> whole = net(question, correct)
    >>> state = net.initial_state(1)
    >>> for step in range(5):
    ...     state = net.step(state, question[:, step, None], correct[:, step, None])
    >>> torch.allclose(whole[:, 5], net.logit(state, question[:, 5, None])[:, 0], atol=1e-6)
    True
    """

    def __init__(
        self,
        num_concepts: int,
        num_items: int,
        width: int,
        num_layers: int,
        num_heads: int,
        window: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width, self.window = width, window
        self.embedding = RaschEmbedding(num_concepts, num_items, width)
        self.blocks: Any = nn.ModuleList(HistoryBlock(width, num_heads, window, dropout) for _ in range(num_layers))
        self.head = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.ReLU(), FastDropout(dropout), nn.Linear(2 * width, 1)
        )

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for module in self.modules():
            if module is not self and callable(reset := getattr(module, "reset_parameters", None)):
                reset()

    def forward(self, question: Tensor, correct: Tensor) -> Tensor:
        """Return the logits [B, T] of answers to questions of vectors [B, T, D], each from the answers before it."""
        interaction = self.embedding.interaction(question, correct)
        seen = question
        for block in self.blocks:
            seen = block(seen, block.attention.whole(*block.attention.remember(seen, interaction)))
        return self._read(seen, question)

    def initial_state(self, batch_size: int) -> TracerState:
        """Return the state of learners without answers."""
        weight = self.embedding.concept.weight
        cache = weight.new_zeros(batch_size, len(self.blocks), self.window, self.width)
        return cache, cache, torch.zeros(batch_size, dtype=torch.int64, device=weight.device)

    def encode(self, question: Tensor, correct: Tensor, mask: Tensor) -> TracerState:
        """Return the state after whole right-padded logs, in one parallel pass.

        Only the last `layers * window` answers of each log can have any effect, and only they are computed.
        """
        length = mask.sum(1)
        if not mask.shape[1]:
            return self.initial_state(len(mask))
        reach = torch.arange(min(mask.shape[1], len(self.blocks) * self.window), device=mask.device)
        first = (length - len(reach)).clamp_min(0)[:, None]
        question, correct = _rows(question, first + reach), correct.gather(1, first + reach)
        place = (length[:, None] - first) - torch.arange(self.window, 0, -1, device=mask.device)
        interaction = self.embedding.interaction(question, correct)
        caches: tuple[list[Tensor], list[Tensor]] = [], []
        for number, block in enumerate(self.blocks):
            memory = block.attention.remember(question, interaction)
            for cache, part in zip(caches, memory):
                cache.append(_rows(part, place.clamp_min(0)) * (place >= 0)[..., None])
            if number + 1 < len(self.blocks):
                question = block(question, block.attention.whole(*memory))
        return torch.stack(caches[0], 1), torch.stack(caches[1], 1), length.clamp_max(self.window)

    def step(self, state: TracerState, question: Tensor, correct: Tensor) -> TracerState:
        """Return the states [B * A, …] after each of A answers; `question` [B, A, D], `correct` [B, A].

        What the answers of one learner see is the same cache, which is copied only to put them into it.
        """
        keys, values, length = state
        interaction, new = self.embedding.interaction(question, correct), []
        for layer, block in enumerate(self.blocks):
            new.append(block.attention.remember(question, interaction))
            if layer + 1 < len(self.blocks):
                question = block(question, block.attention.recall(question, keys[:, layer], values[:, layer], length))
        count = question.shape[1]
        caches = (
            torch.cat(
                [cache[:, None, :, 1:].expand(-1, count, -1, -1, -1), torch.stack(parts, 2).unsqueeze(3)], 3
            ).flatten(0, 1)
            for cache, parts in zip((keys, values), zip(*new))
        )
        return *caches, (length + 1).clamp_max(self.window).repeat_interleave(count, 0)

    def logit(self, state: TracerState, question: Tensor) -> Tensor:
        """Return the logits [B, A] of answers to questions of vectors [B, A, D], each on its own."""
        keys, values, length = state
        seen = question
        for layer, block in enumerate(self.blocks):
            seen = block(seen, block.attention.recall(seen, keys[:, layer], values[:, layer], length))
        return self._read(seen, question)

    def _read(self, seen: Tensor, question: Tensor) -> Tensor:
        logit: Tensor = self.head(torch.cat([seen, question], -1)).squeeze(-1)
        return logit


def _rows(value: Tensor, index: Tensor) -> Tensor:
    """Return `value` [B, T, D] at the steps `index` [B, S]."""
    return value.gather(1, index[..., None].expand(-1, -1, value.shape[-1]))
