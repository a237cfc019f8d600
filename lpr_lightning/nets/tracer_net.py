"""The base of networks that trace knowledge."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from lpr_lightning.types import Exercise, InteractionBatch, State


class TracerNet(nn.Module, ABC):
    """A network with the calls of `protocols.Tracer`, and the logits that it is trained by; see there for shapes."""

    num_concepts: int
    reads_vectors = False
    """Whether an exercise may be asked by its vector, with gradients to it."""

    @abstractmethod
    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return the logits [R] of all real next answers, and their places in the flattened answers 1 … T - 1."""

    @abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """Return the state of learners without history."""

    @abstractmethod
    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole histories; padding changes nothing."""

    @abstractmethod
    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each; B * A rows where `asked` is [B, A]."""

    def asked_weights(self) -> list[nn.Parameter]:
        """Return the weights that a model-based critic trains in its copy: here all of them."""
        return list(self.parameters())

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a step of an episode: here that of an answer."""
        return self.observe(state, asked, correct)

    @abstractmethod
    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers, [B] or [B, A]."""

    @abstractmethod
    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the mastery of every concept [B, N], or of the concepts [B, M] only, [B * G, M]."""
