"""A small differentiable tracer: `from toy_tracer import ToyTracer`."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from lpr_lightning.nets.tracer_net import TracerNet
from lpr_lightning.types import Exercise, InteractionBatch, State, keep_rows, repeat_rows


class ToyTracer(TracerNet):
    """A GRU over (exercise, answer); an exercise is the mean of its concepts' vectors plus its question's own.

    A vector that an exercise brings stands in place of both. Questions from `num_items` on are not known.
    """

    def __init__(self, num_concepts: int, num_items: int = 0, width: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.num_concepts, self.num_items = num_concepts, num_items
        generator = torch.Generator().manual_seed(seed)
        self.concept = nn.Parameter(torch.randn(num_concepts, width, generator=generator))
        self.item = nn.Parameter(torch.randn(num_items + 1, width, generator=generator))
        self.cell, self.read = nn.GRUCell(width + 1, width), nn.Linear(width, width)
        for weight in (*self.cell.parameters(), *self.read.parameters()):
            weight.data.copy_(torch.randn(weight.shape, generator=generator))

    def vector(self, asked: Exercise) -> Tensor:
        """Return the vectors of exercises, [..., D]."""
        if asked.vector is not None:
            return asked.vector
        used = (asked.concept >= 0)[..., None]
        mean = (self.concept[asked.concept.clamp_min(0)] * used).sum(-2) / used.sum(-2).clamp_min(1)
        known = (asked.item >= 0) & (asked.item < self.num_items)
        return mean + self.item[torch.where(known, asked.item, 0)] * known[..., None]

    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return the logits of all real next answers, and their places."""
        state, logits = self.initial_state(len(batch)), []
        for step in range(batch.mask.shape[1] - 1):
            state = self.observe(state, batch.asked(step), batch.correct[:, step])
            logits.append(self.predict(state, batch.asked(step + 1)).logit())
        place = batch.mask[:, 1:].flatten().nonzero().squeeze(1)
        every = torch.stack(logits, 1) if logits else self.concept.new_zeros(len(batch), 0)  # a batch may have no row
        return every.flatten()[place], place

    def initial_state(self, batch_size: int) -> State:
        """Return zeros."""
        return (self.concept.new_zeros(batch_size, self.concept.shape[1]),)

    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole histories, answer by answer."""
        state = self.initial_state(len(history))
        for step in range(history.mask.shape[1]):
            after = self.observe(state, history.asked(step), history.correct[:, step])
            state = keep_rows(state, after, history.mask[:, step])
        return state

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each."""
        count = asked.shape[1] if len(asked.shape) > 1 else 1
        flat = replace(asked, vector=self.vector(asked)).flat()
        if flat.vector is None:
            return state
        inputs = torch.cat([flat.vector, correct.reshape(-1, 1)], 1)
        return (self.cell(inputs, repeat_rows(state, count)[0]),)

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers."""
        vector = self.vector(asked.candidates())
        probability: Tensor = (vector * self.read(state[0])[:, None]).sum(-1).sigmoid().view(asked.shape)
        return probability

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the success probability on concepts at large."""
        every: Tensor = (self.read(state[0]) @ self.concept.T).sigmoid()
        if concept is None:
            return every
        return every.gather(1, concept.repeat_interleave(len(every) // max(len(concept), 1), 0))
