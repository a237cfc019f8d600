"""Learners whose best path is known beforehand, for tests and examples."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.simulators.actions import ConceptActions
from lpr_lightning.types import PAD, Exercise, InteractionBatch, PathRequest, State


@dataclass
class Ladder:
    """Concepts stand in a row, and one can be learned only when the one before it is mastered.

    An answer to a concept within reach raises its ability by `gain` (to 1 at most); an answer to any other concept
    teaches nothing. Answers are right from an ability of 0.5 on. Each right answer of the history counts as one gain.
    With a gain of 0.5, the shortest path to concept n from nothing is 0, 1, …, n, and no other path of this length
    reaches it.

    State: abilities [B, N].

    Args:
        num_concepts: number of rungs.
        gain: rise of ability by one answer, in (0, 1].

    Raises:
        SettingError: an argument is out of its range.

    >>> ladder = Ladder(3)
    >>> state = ladder.start(ladder.request(targets=[[2]], length=3))
    >>> for concept in (0, 1, 2):
    ...     state = ladder.practise(state, Exercise.of_concepts(torch.tensor([concept])), torch.ones(1))
    >>> ladder.mastery(state)
    tensor([[0.5000, 0.5000, 0.5000]])
    """

    num_concepts: int = 4
    gain: float = 0.5
    actions: ConceptActions = field(init=False, repr=False)

    def __post_init__(self) -> None:
        checked("num_concepts", self.num_concepts, 1)
        if not 0 < self.gain <= 1:
            raise SettingError("gain", self.gain, "a number above 0 and up to 1")
        self.actions = ConceptActions(self.num_concepts)

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

    def start(self, request: PathRequest) -> State:
        """Return the abilities after the histories."""
        history = request.history
        right = (history.correct * history.mask)[..., None] * (history.concept >= 0)
        counts = torch.zeros(len(request), self.num_concepts, device=right.device)
        counts = counts.scatter_add(1, history.concept.clamp_min(0).flatten(1), right.flatten(1))
        return ((counts * self.gain).clamp_max(1.0),)

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the ability of what is asked, [B] or [B, A]."""
        index = asked.candidates().concept[..., 0].clamp_min(0)
        return state[0].gather(1, index).view(asked.shape)

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        """Return right answers from an ability of 0.5 on; these learners leave nothing to chance."""
        return (probability >= 0.5).to(probability)

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Let each learner practise one concept, or A of them each on its own."""
        concept = asked.candidates().concept[..., 0]
        ability = state[0].repeat_interleave(concept.shape[1], 0)
        concept = concept.reshape(-1, 1)
        index = concept.clamp_min(0)
        reachable = (concept >= 0) & ((index == 0) | (ability.gather(1, (index - 1).clamp_min(0)) >= 0.5))
        current = ability.gather(1, index)
        return (ability.scatter(1, index, torch.where(reachable, (current + self.gain).clamp_max(1.0), current)),)

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the same: whoever answers practises."""
        return self.practise(state, asked, correct)

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the abilities, [B, N], or those of some concepts, [B * G, M]."""
        if concept is None:
            return state[0]
        return state[0].gather(1, concept.repeat_interleave(len(state[0]) // max(len(concept), 1), 0))
