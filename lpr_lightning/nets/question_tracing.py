"""The protocol of question tracers over a `QuestionNet`."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.nets.question_net import QuestionNet, Trace
from lpr_lightning.types import InteractionBatch, TracerState


class QuestionTracing:
    """Gives a module whose `net` is a `QuestionNet` the methods of `types.QuestionTracer`, and the two by which a
    simulator looks ahead cheaply (`observe_each`, `mastery_of`).
    """

    net: QuestionNet

    def initial_state(self, batch_size: int) -> TracerState:
        """Return the state of learners without history."""
        return self.net.initial_state(batch_size)

    def encode(self, history: InteractionBatch) -> TracerState:
        """Return the state after whole histories; answers without a question count as answers to their concepts."""
        trace: Trace = self.net(history, with_state=True)
        return trace.state

    def observe(self, state: TracerState, concept: Tensor, correct: Tensor) -> TracerState:
        """Return the state after one answer each to a concept at large."""
        return self.net.observe_concepts(state, _several(concept)[:, None], correct[:, None])

    def observe_each(self, state: TracerState, concept: Tensor, correct: Tensor) -> TracerState:
        """Return the states after each of A possible answers ([B, A] in, B * A rows out)."""
        return self.net.observe_concepts(state, concept[..., None], correct)

    def observe_item(self, state: TracerState, item: Tensor, correct: Tensor) -> TracerState:
        """Return the state after one answer each to a question."""
        return self.net.observe_items(state, item[:, None], correct[:, None])

    def predict(self, state: TracerState, concept: Tensor) -> Tensor:
        """Return the success probability [B] of a concept; of several, by the mean of their logits."""
        several = _several(concept)
        known = several >= 0
        logit = (self.net.concept_pairs(state, several) * known).sum(1) / known.sum(1).clamp_min(1)
        return logit.sigmoid()

    def predict_item(self, state: TracerState, item: Tensor) -> Tensor:
        """Return the success probability [B] of a question."""
        return self.net.item_pairs(state, item).sigmoid()

    def mastery(self, state: TracerState) -> Tensor:
        """Return the success probability of every concept, [B, N]."""
        return self.net.concept_logits(state).sigmoid()

    def mastery_of(self, state: TracerState, concept: Tensor) -> Tensor:
        """Return the success probabilities [B * G, A] of the concepts [B, A] only, G states for each row of them."""
        halves, head = self.net.concept_halves(), self.net.head
        state_halves = head.state_half(state[0]).view(len(concept), -1, halves.shape[1])
        rows = [head.grid(some, halves[which]) for some, which in zip(state_halves, concept)]
        return torch.cat(rows).sigmoid() if rows else halves.new_empty(0, concept.shape[1])


def _several(concept: Tensor) -> Tensor:
    return concept if concept.dim() == 2 else concept[:, None]
