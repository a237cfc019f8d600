"""Practice logs of learners of known truth: what they chose to practise, and how it went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lpr_lightning.types import Exercise, Interactions, State

if TYPE_CHECKING:  # who call these functions
    from lpr_lightning.simulators.world_learners import WorldLearners

STAY_WRONG, STAY_RIGHT = 0.8, 0.5
"""Chance of another exercise of the same concept after a wrong and after a right answer: runs of two to five."""
FAILING = 0.4
"""Progress in the course by a wrong answer over that by a right one: who fails is held back, so goals stay in reach."""
REVIEW = 0.15
"""Share of new choices that go back to anything already passed in the course."""
WINDOW = 2.0
"""Standard deviation, in places of the course, of the choice around where the learner stands."""


def practice_log(learners: WorldLearners, shortest: int, longest: int, seed: int) -> Interactions:
    """Let every learner of the world practise `shortest` to `longest` exercises; the same log for the same seed.

    Each learner goes through a course of one's own: all first levels before all second ones, topics in random order
    within a level, some concepts out of place. Learners start and end at different points of it, stay with a concept
    while they fail, and look back now and then.

    >>> from lpr_lightning.simulators.true_learners import TrueLearners
    >>> log = practice_log(TrueLearners(num_learners=3), shortest=5, longest=9, seed=0)
    >>> log.num_learners, bool((log.lengths >= 5).all() and (log.lengths <= 9).all())
    (3, True)
    """
    generator = torch.Generator().manual_seed(2 * seed + 1)
    count = learners.num_learners
    length = torch.randint(shortest, longest + 1, (count,), generator=generator)
    place = _course(learners, generator)
    stand = 0.5 * learners.num_concepts * torch.rand(count, generator=generator)
    pace = (learners.num_concepts - stand) / length * (0.5 + 0.5 * torch.rand(count, generator=generator))
    state = learners.begin(torch.arange(count))
    concept, correct = torch.zeros(count, dtype=torch.int64), torch.zeros(count)
    steps = []
    for step in range(longest):
        stay = torch.rand(count, generator=generator) < torch.where(correct > 0, STAY_RIGHT, STAY_WRONG)
        chosen = _choose(place, stand, generator)
        concept = torch.where(stay, concept, chosen) if step else chosen
        item, correct, state = answered(learners, state, concept, generator)
        stand = (stand + pace * torch.where(correct > 0, 1.0, FAILING)).clamp_max(learners.num_concepts)
        steps.append(torch.stack([item, concept, correct.long()], 1))
    return collected(steps, length)


def answered(
    learners: WorldLearners, state: State, concept: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, State]:
    """Let everybody answer an exercise on `concept` [B]; return the items, the answers and the states after it."""
    items = torch.bincount(learners.item_concept, minlength=learners.num_concepts)
    which = (torch.rand(len(concept), generator=generator) * items[concept]).long()
    item = learners.item_concept.argsort(stable=True)[(items.cumsum(0) - items)[concept] + which]
    asked = Exercise(concept[:, None], item)
    correct = (torch.rand(len(concept), generator=generator) < learners.predict(state, asked)).float()
    return item, correct, learners.practise(state, asked, correct)


def collected(steps: list[Tensor], length: Tensor) -> Interactions:
    """Return the log of steps, [B, 3] (item, concept, correct) each, of which each learner took `length` [B]."""
    mask = torch.arange(len(steps)) < length[:, None]
    item, concept, right = torch.stack(steps, 1)[mask].unbind(1)
    return Interactions(
        offsets=torch.cat([length.new_zeros(1), length.cumsum(0)]),
        learner=torch.arange(len(length)),
        item=item.int(),
        concept=concept.int()[:, None],
        correct=right.to(torch.uint8),
    )


def _course(learners: WorldLearners, generator: torch.Generator) -> Tensor:
    """Return each concept's place in each learner's course, [B, N] from 0 to N - 1."""
    topics = int(learners.world.topic.max()) + 1
    rank = torch.rand(learners.num_learners, topics, generator=generator)[:, learners.world.topic]
    jitter = 0.4 * torch.randn(learners.num_learners, learners.num_concepts, generator=generator)
    return (learners.world.level + rank + jitter).argsort(1).argsort(1)


def _choose(place: Tensor, stand: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a concept [B] near where each learner stands in the course [B], or behind."""
    near = torch.exp(-((place - stand[:, None]) / WINDOW).square() / 2)
    behind = (place <= stand[:, None]).float()
    weight = (1 - REVIEW) * near / near.sum(1, keepdim=True) + REVIEW * behind / behind.sum(1, keepdim=True)
    return torch.multinomial(weight, 1, generator=generator).squeeze(1)
