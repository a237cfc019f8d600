"""A world where growth transfers: practice of one concept lifts those next to it in the graph of prerequisites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lpr_lightning.simulators.world_learners import WorldKind, WorldLearners
from lpr_lightning.types import State


@dataclass(frozen=True)
class TransferWorld(WorldKind):
    """How learners answer and learn; abilities and difficulties are logits.

    Args:
        rate: share of the distance to the ceiling that a right answer closes: growth is fastest for who knows least,
            whatever the exercise's difficulty, unlike in the default world.
        ceiling: what practice leads towards, in logits above a concept's difficulty.
        transfer: growth of a concept one edge away, over that of the practised concept (both shares of the distance
            to their own ceilings); its square two edges away, and so on. Edges count in both directions.
        gate: share of the growth that a prerequisite can take away: at .5 half is left where the weakest is not held
            at all. Prerequisites help, and nothing is out of reach.
        steepness: of the gate in the prerequisite's ability minus difficulty.
        wrong_share: growth by a wrong answer over that by a right one.
        discrimination: steepness of success in ability minus difficulty; low, so that single answers say little.
        guess: chance of a right answer without any ability. One in five: multiple choice.
        slip: chance of a wrong answer with all ability.

    Raises:
        SettingError: an argument is out of its range.
    """

    recipe: ClassVar[str] = "transfer world 1"
    stream: ClassVar[int] = 1
    rate: float = 0.35
    ceiling: float = 2.6
    transfer: float = 0.12
    gate: float = 0.5
    steepness: float = 3.0
    wrong_share: float = 0.7
    discrimination: float = 1.3
    guess: float = 0.2
    slip: float = 0.05

    def __post_init__(self) -> None:
        self._check(above=("steepness",), least=("ceiling",), shares=("rate", "transfer", "gate", "wrong_share"))

    def learners(self, num_concepts: int, num_items: int, num_learners: int, world_seed: int = 0) -> TransferLearners:
        """Return the learners of a seeded world of this kind."""
        return TransferLearners(num_concepts, num_items, num_learners, self, world_seed=world_seed)


class TransferLearners(WorldLearners):
    """Learners whose practice of a concept lifts its neighbours in the graph too; nothing is forgotten.

    An answer to c moves the ability of every concept j by rate x transfer^edges(c, j) x gate(c) x effort of its
    distance to its ceiling, difficulty_j + ceiling; what stands above its ceiling stays. The state is
    (ability [B, N],).

    >>> learners = TransferLearners(num_concepts=5, num_items=5, num_learners=1)
    >>> from lpr_lightning.types import Exercise
    >>> state = learners.begin(torch.tensor([0]))
    >>> after = learners.practise(state, Exercise.of_concepts(torch.tensor([1])), torch.ones(1))
    >>> (learners.mastery(after) > learners.mastery(state)).tolist()
    [[True, True, True, True, True]]
    """

    kind_class: ClassVar[type[WorldKind]] = TransferWorld
    kind: TransferWorld
    share: Tensor

    def prepare(self, seed: int) -> None:
        """Add how far growth transfers between any two concepts, [N, N]; nothing reaches across no edge at all."""
        near = self.needs | self.needs.T
        reached = torch.eye(self.num_concepts, dtype=torch.bool)
        share, distance = reached.float(), 0
        while bool((new := (reached.float() @ near.float() > 0) & ~reached).any()):
            distance, reached = distance + 1, reached | new
            share = share + new * self.kind.transfer**distance
        self.register_buffer("share", share, persistent=False)

    def learn(self, state: State, concept: Tensor, difficulty: Tensor, correct: Tensor) -> State:
        """Return the state after an answer of every row."""
        kind, (ability,) = self.kind, state
        effort = kind.wrong_share + (1 - kind.wrong_share) * correct
        moved = kind.rate * self.gate(ability, concept) * effort
        left = (self.difficulty + kind.ceiling - ability).clamp_min(0)
        return (ability + moved[:, None] * self.share[concept] * left,)

    def begin(self, learner: Tensor) -> State:
        """Return the state of learners [B] before any answer; unseen learners start at the population's mean."""
        return (self.own(self.ability, learner),)

    def gate(self, ability: Tensor, concept: Tensor) -> Tensor:
        """Return how much of their growth the prerequisites of `concept` [B] leave: [B] in [1 - gate, 1]."""
        held = torch.sigmoid(self.kind.steepness * (ability - self.difficulty))
        return 1 - self.kind.gate * (1 - held.masked_fill(~self.needs[concept], 1.0).amin(1))
