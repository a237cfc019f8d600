"""Learners whose best path is known beforehand, for tests and examples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.types import PAD, InteractionBatch, PathRequest, SimulatorState


@dataclass
class Ladder:
    """Concepts stand in a row, and one can be learned only when the one before it is mastered.

    An answer to a concept within reach raises its ability by `gain` (to 1 at most); an answer to any other concept
    teaches nothing. Answers are right from an ability of 0.5 on; the exam counts the targets of at least 0.5. Each
    right answer of the history counts as one gain. With a gain of 0.5, the shortest path to concept n from nothing is
    0, 1, …, n, and no other path of this length reaches it.

    State: abilities [B, N].

    Args:
        num_concepts: Number of rungs.
        gain: Rise of ability by one answer, in (0, 1].

    >>> ladder = Ladder(3)
    >>> state = ladder.start(ladder.request(targets=[[2]], length=3))
    >>> for concept in (0, 1, 2):
    ...     state, answer, probability = ladder.step(state, torch.tensor([concept]))
    >>> ladder.mastery(state)
    tensor([[0.5000, 0.5000, 0.5000]])
    """

    num_concepts: int = 4
    gain: float = 0.5

    def __post_init__(self) -> None:
        if self.num_concepts < 1:
            raise SettingError("num_concepts", self.num_concepts, "a whole number above 0")
        if not 0 < self.gain <= 1:
            raise SettingError("gain", self.gain, "a number above 0 and up to 1")

    def request(self, targets: list[list[int]], length: int) -> PathRequest:
        """Return requests of learners without history, one for each list of target concepts."""
        wanted = torch.zeros(len(targets), self.num_concepts, dtype=torch.bool)
        for row, concepts in enumerate(targets):
            wanted[row, concepts] = True
        count = len(targets)
        return PathRequest(
            history=InteractionBatch.empty(count),
            targets=wanted,
            length=torch.full((count,), length),
            learner=torch.full((count,), PAD),
            row=torch.arange(count),
        )

    def seed(self, seed: int) -> None:
        """Do nothing: these learners leave nothing to chance."""

    def start(self, request: PathRequest) -> SimulatorState:
        """Return the abilities after the histories."""
        history = request.history
        right = (history.correct * history.mask)[..., None] * (history.concept >= 0)
        counts = torch.zeros(len(request), self.num_concepts, device=right.device)
        counts = counts.scatter_add(1, history.concept.clamp_min(0).flatten(1), right.flatten(1))
        return ((counts * self.gain).clamp_max(1.0),)

    def step(self, state: SimulatorState, concept: Tensor) -> tuple[SimulatorState, Tensor, Tensor]:
        """Let each learner answer one concept."""
        (ability,) = state
        going, index = concept >= 0, concept.clamp_min(0)[:, None]
        before = ability.gather(1, (index - 1).clamp_min(0))[:, 0]
        reachable = going & ((index[:, 0] == 0) | (before >= 0.5))
        current = ability.gather(1, index)[:, 0]
        new = torch.where(reachable, (current + self.gain).clamp_max(1.0), current)
        probability = torch.where(going, current, 0.0)
        return (ability.scatter(1, index, new[:, None]),), (probability >= 0.5).float(), probability

    def exam(self, state: SimulatorState, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the number of targets mastered, and of targets."""
        return ((state[0] >= 0.5) & targets).sum(1).float(), targets.sum(1).float()

    def mastery(self, state: SimulatorState) -> Tensor:
        """Return the abilities."""
        return state[0]
