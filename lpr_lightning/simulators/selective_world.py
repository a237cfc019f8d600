"""A world without prerequisites: what is learned is forgotten with time, and learners choose what suits them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lpr_lightning.simulators.practice_logs import answered, collected
from lpr_lightning.simulators.world_learners import WorldKind, WorldLearners
from lpr_lightning.types import Interactions, State

ENOUGH = 0.65
"""Share of right answers with which nobody stops: about the mean of all answers."""


@dataclass(frozen=True)
class SelectiveWorld(WorldKind):
    """How learners answer, learn, forget, and choose what to practise; abilities and difficulties are logits.

    Args:
        rate: growth in logits by the first right answer.
        width: logits of gain after which growth has fallen to 1/e: growth follows the logarithm of practice.
        reach: logits below a concept's difficulty at which half of the growth is left: what is far too hard teaches
            little, what is easy teaches as much as it can.
        wrong_share: growth by a wrong answer over that by a right one.
        half_life: exercises on other things after which half of a gain would be lost if it went on as at first.
        forgetting: exponent of the power law of forgetting, 1 for a hyperbola: fast at first, slow later.
        focus: standard deviation, in logits, of what learners choose around the difficulty that suits their level;
            the smaller, the more selective are the logs.
        quitting: chance of stopping at each answer, beyond the shortest log, of a learner who gets none right.
        discrimination: steepness of success in ability minus difficulty.
        guess: chance of a right answer without any ability.
        slip: chance of a wrong answer with all ability.

    Raises:
        SettingError: an argument is out of its range.
    """

    recipe: ClassVar[str] = "selective world 1"
    stream: ClassVar[int] = 3
    rate: float = 0.9
    width: float = 1.2
    reach: float = 1.5
    wrong_share: float = 0.6
    half_life: float = 60.0
    forgetting: float = 1.0
    focus: float = 0.7
    quitting: float = 0.2
    discrimination: float = 1.5
    guess: float = 0.15
    slip: float = 0.05

    def __post_init__(self) -> None:
        self._check(
            above=("width", "half_life", "focus"),
            least=("rate", "forgetting"),
            shares=("wrong_share", "quitting"),
        )

    def learners(self, num_concepts: int, num_items: int, num_learners: int, world_seed: int = 0) -> SelectiveLearners:
        """Return the learners of a seeded world of this kind."""
        return SelectiveLearners(num_concepts, num_items, num_learners, self, world_seed=world_seed)


class SelectiveLearners(WorldLearners):
    """Learners who forget with time, and whose logs are their own choice; no concept needs another.

    The ability on a concept is beginning + gain x (1 + age / half_life)^-forgetting, where its age counts the
    exercises since it was practised last. An answer to it first takes what is left of the gain, adds rate x
    exp(-gain / width) x reach x effort, and sets the age to 0. The state is (beginning, gain, age), [B, N] each.

    >>> learners = SelectiveLearners(num_concepts=5, num_items=5, num_learners=1)
    >>> from lpr_lightning.types import Exercise
    >>> state, first = learners.begin(torch.tensor([0])), Exercise.of_concepts(torch.tensor([0]))
    >>> after = learners.practise(state, first, torch.ones(1))
    >>> later = learners.practise(after, Exercise.of_concepts(torch.tensor([1])), torch.ones(1))
    >>> bool(learners.mastery(state)[0, 0] < learners.mastery(later)[0, 0] < learners.mastery(after)[0, 0])
    True
    """

    kind_class: ClassVar[type[WorldKind]] = SelectiveWorld
    has_prerequisites: ClassVar[bool] = False
    kind: SelectiveWorld

    def begin(self, learner: Tensor) -> State:
        """Return the state of learners [B] before any answer; unseen learners start at the population's mean."""
        beginning = self.own(self.ability, learner)
        return beginning, torch.zeros_like(beginning), torch.zeros_like(beginning)

    def left(self, gain: Tensor, age: Tensor) -> Tensor:
        """Return what is left of gains that were made `age` exercises ago."""
        return gain * (1 + age / self.kind.half_life) ** -self.kind.forgetting

    def level(self, state: State) -> Tensor:
        """Return the abilities, [B, N]."""
        beginning, gain, age = state
        return beginning + self.left(gain, age)

    def learn(self, state: State, concept: Tensor, difficulty: Tensor, correct: Tensor) -> State:
        """Return the state after an answer of every row."""
        kind, (beginning, gain, age), place = self.kind, state, concept[:, None]
        left = self.left(gain, age).gather(1, place).squeeze(1)
        ability = beginning.gather(1, place).squeeze(1) + left
        reach = torch.sigmoid(2 * (ability - difficulty + kind.reach))
        effort = kind.wrong_share + (1 - kind.wrong_share) * correct
        grown = left + kind.rate * torch.exp(-left / kind.width) * reach * effort
        return beginning, gain.scatter(1, place, grown[:, None]), (age + 1).scatter(1, place, 0.0)

    def practice_log(self, shortest: int, longest: int, world_seed: int = 0) -> Interactions:
        """Return what the learners chose to do: what suits their level, and an end to it where they fail.

        A learner's choice is drawn around the learner's mean ability, moving up by a logit until the longest log's
        end. Half of all exercises stay with the concept before. After the shortest log a learner may stop at any
        answer, the likelier the fewer of the last dozen answers were right; one who gets enough of them right goes on.
        """
        generator = torch.Generator().manual_seed(2 * self.kind.seed(world_seed) + 1)
        count = self.num_learners
        length = torch.randint(shortest, longest + 1, (count,), generator=generator)
        state, suits = self.begin(torch.arange(count)), self.ability.mean(1, keepdim=True)
        concept, right = torch.zeros(count, dtype=torch.int64), torch.full((count,), 0.6)
        steps = []
        for step in range(longest):
            apart = (self.difficulty - suits - step / longest) / self.kind.focus
            chosen = torch.multinomial(torch.exp(-apart.square() / 2), 1, generator=generator).squeeze(1)
            stay = torch.rand(count, generator=generator) < 0.5
            concept = torch.where(stay, concept, chosen) if step else chosen
            item, correct, state = answered(self, state, concept, generator)
            right = right + (correct - right) / 12
            stops = torch.rand(count, generator=generator) < self.kind.quitting * (1 - right / ENOUGH).clamp_min(0)
            length = torch.where(stops & (step + 1 >= shortest), length.clamp_max(step + 1), length)
            steps.append(torch.stack([item, concept, correct.long()], 1))
        return collected(steps, length)
