"""The default world: growth near one's level, gated by prerequisites, and slow forgetting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lpr_lightning.simulators.world_learners import WorldKind, WorldLearners
from lpr_lightning.types import State


@dataclass(frozen=True)
class GrowthWorld(WorldKind):
    """How learners answer and learn; abilities and difficulties are logits.

    Args:
        rate: growth in logits by one right answer right at the learner's level. Far above what schools see, so that
            ten steps can lift five targets: a step stands for a lesson, not for a question.
        zone: standard deviation of the zone of proximal development, in logits of ability minus difficulty: at one
            zone's distance six tenths of the growth are left, at two a seventh. So three or four exercises of a
            concept use up what it can teach, and what is far too hard teaches little.
        wrong_share: growth by a wrong answer over that by a right one. One learns from mistakes, but less.
        gate: steepness of the gate by the weakest prerequisite, half open where its ability equals its difficulty.
            A logit below leaves a fiftieth of the growth: prerequisites first.
        forgetting: share of what was gained that is lost at each answer to something else. A tenth is gone after ten
            steps, half after 70, so a log of 80 answers shows it and a path of 10 feels it a little.
        discrimination: steepness of success in ability minus difficulty.
        guess: chance of a right answer without any ability. One in ten: short free answers.
        slip: chance of a wrong answer with all ability.

    Raises:
        SettingError: an argument is out of its range.
    """

    recipe: ClassVar[str] = "lpr_lightning.simulators.true_learners.Learning"  # its first name: old caches stay good
    stream: ClassVar[int] = 0
    rate: float = 2.0
    zone: float = 1.2
    wrong_share: float = 0.5
    gate: float = 4.0
    forgetting: float = 0.01
    discrimination: float = 1.7
    guess: float = 0.1
    slip: float = 0.05

    def __post_init__(self) -> None:
        self._check(above=("zone", "gate"), least=("rate",), shares=("wrong_share", "forgetting"))

    def learners(self, num_concepts: int, num_items: int, num_learners: int, world_seed: int = 0) -> TrueLearners:
        """Return the learners of a seeded world of this kind."""
        return TrueLearners(num_concepts, num_items, num_learners, self, world_seed=world_seed)


class TrueLearners(WorldLearners):
    """Learners of the default world, whose abilities grow by practice near their level.

    An answer to a concept lifts its ability by rate x zone x gate x effort (see `GrowthWorld`), while what was gained
    on the others fades towards what the learner came with. The state is (ability [B, N], ability at the beginning
    [B, N]).

    >>> learners = TrueLearners(num_concepts=10, num_items=20, num_learners=3)
    >>> from lpr_lightning.types import Exercise
    >>> state, asked = learners.begin(torch.tensor([0, 1])), Exercise.of_concepts(torch.tensor([0, -1]))
    >>> after = learners.practise(state, asked, torch.tensor([1.0, 0.0]))
    >>> bool(learners.mastery(after)[0, 0] > learners.mastery(state)[0, 0]), bool((after[0][1] == state[0][1]).all())
    (True, True)
    """

    kind_class: ClassVar[type[WorldKind]] = GrowthWorld
    kind: GrowthWorld

    def learn(self, state: State, concept: Tensor, difficulty: Tensor, correct: Tensor) -> State:
        """Return the state after an answer of every row."""
        kind, (ability, beginning), place = self.kind, state, concept[:, None]
        own = ability.gather(1, place).squeeze(1)
        zone = torch.exp(-((own - difficulty) / kind.zone).square() / 2)
        effort = kind.wrong_share + (1 - kind.wrong_share) * correct
        grown = own + kind.rate * zone * self.gate(ability, concept) * effort
        faded = ability - kind.forgetting * (ability - beginning)
        return faded.scatter(1, place, grown[:, None]), beginning

    def gate(self, ability: Tensor, concept: Tensor) -> Tensor:
        """Return how far the prerequisites of `concept` [B] hold, [B] in [0, 1]: as far as the weakest."""
        held = torch.sigmoid(self.kind.gate * (ability - self.difficulty))
        return held.masked_fill(~self.needs[concept], 1.0).amin(1)
