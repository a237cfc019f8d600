"""A knowledge tracer of attention blocks, run over whole logs or one answer at a time with the same parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lpr_lightning.nets.fast_dropout import FastDropout
from lpr_lightning.nets.history_attention import HistoryBlock
from lpr_lightning.nets.rasch_embedding import RaschEmbedding
from lpr_lightning.nets.tracer_net import TracerNet
from lpr_lightning.types import Exercise, InteractionBatch, State


class AttentionTracer(TracerNet):
    """Questions look through blocks of attention at the answers before them; a net tells success from what they see.

    Within every block a question sees the `window` answers before it, and positions are relative: steps and whole
    logs agree however long the log, and a step costs O(window). An exercise is its concepts, moved by the item's
    difficulty where the item is known; see `RaschEmbedding`. Vectors of exercises are ignored. State: keys and values
    of the last `window` answers, [B, layers, W, D] each, aligned to the right, and their number [B].

    Args:
        num_concepts: N.
        num_items: Number of questions.
        width: D, of all vectors; a multiple of `num_heads`.
        num_layers: Attention blocks.
        num_heads: Heads of each block.
        window: W.
        dropout: On answers, residuals and hidden layers while training, in [0, 1).

    >>> net = AttentionTracer(num_concepts=3, num_items=4, width=8, num_layers=2, num_heads=2, window=2).eval()
    >>> state = net.observe(net.initial_state(2), Exercise.of_concepts(torch.tensor([0, 2])), torch.tensor([1.0, 0.0]))
    >>> net.mastery(state).shape
    torch.Size([2, 3])
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
        self.num_concepts, self.width, self.window = num_concepts, width, window
        self.embedding = RaschEmbedding(num_concepts, num_items, width)
        self.blocks = nn.ModuleList(HistoryBlock(width, num_heads, window, dropout) for _ in range(num_layers))
        self.head = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.ReLU(), FastDropout(dropout), nn.Linear(2 * width, 1)
        )

    def initial_state(self, batch_size: int) -> State:
        """Return the state of learners without answers."""
        weight = self.embedding.concept.weight
        cache = weight.new_zeros(batch_size, len(self.blocks), self.window, self.width)
        return cache, cache, torch.zeros(batch_size, dtype=torch.int64, device=weight.device)

    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole right-padded histories, in one parallel pass.

        Only the last `layers * window` answers of each history can have any effect, and only they are computed.
        """
        length, steps = history.lengths, history.mask.shape[1]
        if not steps:
            return self.initial_state(len(history))
        reach = torch.arange(min(steps, len(self.blocks) * self.window), device=length.device)
        first = (length - len(reach)).clamp_min(0)[:, None]
        recent = first + reach
        question = self.embedding.question(Exercise(_rows(history.concept, recent), history.item.gather(1, recent)))
        interaction = self.embedding.interaction(question, history.correct.gather(1, recent))
        place = (length[:, None] - first) - torch.arange(self.window, 0, -1, device=length.device)
        caches: tuple[list[Tensor], list[Tensor]] = [], []
        for number, block in enumerate(self._blocks):
            memory = block.attention.remember(question, interaction)
            for cache, part in zip(caches, memory):
                cache.append(_rows(part, place.clamp_min(0)) * (place >= 0)[..., None])
            if number + 1 < len(self.blocks):
                question = block(question, block.attention.whole(*memory))
        return torch.stack(caches[0], 1), torch.stack(caches[1], 1), length.clamp_max(self.window)

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each, or after each of A possible answers; see `protocols.Tracer`.

        What the answers of one learner see is the same cache, which is copied only to put them into it.
        """
        keys, values, length = state
        question = self.embedding.question(asked.candidates())
        interaction = self.embedding.interaction(question, correct.reshape(question.shape[:2]))
        new = []
        for layer, block in enumerate(self._blocks):
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

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers, [B] or [B, A]."""
        question = self.embedding.question(asked.candidates())
        return self._recall(state, question).sigmoid().reshape(asked.shape)

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the success probability of questions of mean difficulty on every concept [B, N], or on the concepts
        [B, M] only, [B * G, M]."""
        rows = len(state[2])
        if concept is None:
            question = self.embedding.concept.weight.expand(rows, -1, -1)
        else:
            question = self.embedding.question(Exercise.of_concepts(concept))
            question = question.repeat_interleave(rows // max(len(concept), 1), 0)
        return self._recall(state, question).sigmoid()

    def logits(self, batch: InteractionBatch) -> Tensor:
        """Return the logits [B, T] of all answers, each from the answers before it, the first from none."""
        question = self.embedding.question(Exercise(batch.concept, batch.item))
        interaction = self.embedding.interaction(question, batch.correct)
        seen = question
        for block in self._blocks:
            seen = block(seen, block.attention.whole(*block.attention.remember(seen, interaction)))
        return self._read(seen, question)

    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return the logits [R] of all real next answers, and each one's place in the flattened answers 1 … T - 1."""
        place = batch.mask[:, 1:].flatten().nonzero().squeeze(1)
        return self.logits(batch)[:, 1:].flatten()[place], place

    @property
    def _blocks(self) -> list[HistoryBlock]:
        return [block for block in self.blocks if isinstance(block, HistoryBlock)]

    def _recall(self, state: State, question: Tensor) -> Tensor:
        """Return the logits [B, A] of answers to questions of vectors [B, A, D], each on its own."""
        keys, values, length = state
        seen = question
        for layer, block in enumerate(self._blocks):
            seen = block(seen, block.attention.recall(seen, keys[:, layer], values[:, layer], length))
        return self._read(seen, question)

    def _read(self, seen: Tensor, question: Tensor) -> Tensor:
        logit: Tensor = self.head(torch.cat([seen, question], -1)).squeeze(-1)
        return logit


def _rows(value: Tensor, index: Tensor) -> Tensor:
    """Return `value` [B, T, D] at the steps `index` [B, S]."""
    return value.gather(1, index[..., None].expand(-1, -1, value.shape[-1]))
