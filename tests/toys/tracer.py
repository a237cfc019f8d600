"""A tracer of somebody else's: success by the share of right answers so far, on the concept and on all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lpr_lightning.bases.tracer import TracerModule
from lpr_lightning.hparams import arguments
from lpr_lightning.nets.tracer_net import TracerNet
from lpr_lightning.types import Exercise, InteractionBatch, State


class CountingNet(TracerNet):
    """State: right and all answers of each concept, [B, N] each."""

    def __init__(self, num_concepts: int) -> None:
        super().__init__()
        self.num_concepts = num_concepts
        self.ease = nn.Parameter(torch.zeros(num_concepts))
        self.weight = nn.Parameter(torch.ones(2))

    def initial_state(self, batch_size: int) -> State:
        zeros = self.ease.new_zeros(batch_size, self.num_concepts)
        return zeros, zeros

    def encode(self, history: InteractionBatch) -> State:
        state = self.initial_state(len(history))
        for step in range(history.mask.shape[1]):
            state = self.observe(state, history.asked(step), history.correct[:, step])
        return state

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        concept = asked.candidates().concept
        right, count = (part.repeat_interleave(concept.shape[1], 0) for part in state)
        concept = concept.flatten(0, 1)
        known, index = (concept >= 0).to(right), concept.clamp_min(0)
        return right.scatter_add(1, index, known * correct.reshape(-1, 1)), count.scatter_add(1, index, known)

    def predict(self, state: State, asked: Exercise) -> Tensor:
        concept = asked.candidates().concept
        known = (concept >= 0).to(self.ease)
        logit = self._logits(state)[:, None].expand(-1, concept.shape[1], -1).gather(2, concept.clamp_min(0))
        return ((logit * known).sum(2) / known.sum(2).clamp_min(1)).view(asked.shape).sigmoid()

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        logit = self._logits(state)
        if concept is not None:
            logit = logit.gather(1, concept.repeat_interleave(len(logit) // max(len(concept), 1), 0))
        return logit.sigmoid()

    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        state, logits = self.initial_state(len(batch)), []
        for step in range(batch.mask.shape[1] - 1):
            state = self.observe(state, batch.asked(step), batch.correct[:, step])
            logits.append(self.predict(state, batch.asked(step + 1)).logit())
        place = batch.mask[:, 1:].flatten().nonzero().squeeze(1)
        every = torch.stack(logits, 1) if logits else self.ease.new_zeros(len(batch), 0)  # a batch may have no row
        return every.flatten()[place], place

    def _logits(self, state: State) -> Tensor:
        right, count = state
        share = (right - count / 2) / (count + 2)
        overall = (right.sum(1) - count.sum(1) / 2) / (count.sum(1) + 2)
        return self.ease + self.weight[0] * share + self.weight[1] * overall[:, None]


class CountingTracer(TracerModule):
    """The net, an optimizer, nothing else."""

    def __init__(self, num_concepts: int | None = None, learning_rate: float = 0.05) -> None:
        super().__init__(num_concepts)
        self.save_hyperparameters(arguments(locals()))
        self.net, self.learning_rate = CountingNet(self.num_concepts), learning_rate

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.learning_rate)
