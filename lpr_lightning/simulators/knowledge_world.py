"""A world of learners who know a concept or do not: Bayesian knowledge tracing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.simulators.world_learners import WorldKind, WorldLearners
from lpr_lightning.types import PathRequest, State


@dataclass(frozen=True)
class KnowledgeWorld(WorldKind):
    """How learners answer and learn.

    Args:
        learn: chance that one exercise makes an unknown concept known (BKT's P(T)), at a concept of middling kind.
        spread: standard deviation of its logit over concepts: some are learned at once, some hardly.
        leak: what is left of that chance (of its hazard) where a prerequisite is unknown.
        known: margin in logits by which a learner's ability must exceed a concept's difficulty for it to be known at
            the beginning (BKT's P(L0)). At 0 half of all concepts would be known.
        discrimination: how far an exercise's own difficulty moves the logit of guess and slip.
        guess: chance of a right answer without knowledge (BKT's P(G)).
        slip: chance of a wrong answer with knowledge (BKT's P(S)).

    Raises:
        SettingError: an argument is out of its range.
    """

    recipe: ClassVar[str] = "knowledge world 1"
    stream: ClassVar[int] = 2
    learn: float = 0.3
    spread: float = 0.7
    leak: float = 0.2
    known: float = 0.5
    discrimination: float = 0.8
    guess: float = 0.25
    slip: float = 0.15

    def __post_init__(self) -> None:
        self._check(least=("spread",), shares=("learn", "leak"))
        for name in ("guess", "slip", "learn"):  # their logits are taken
            if not 0 < vars(self)[name] < 1:
                raise SettingError(name, vars(self)[name], "a share above 0 and below 1")

    def learners(self, num_concepts: int, num_items: int, num_learners: int, world_seed: int = 0) -> KnowledgeLearners:
        """Return the learners of a seeded world of this kind."""
        return KnowledgeLearners(num_concepts, num_items, num_learners, self, world_seed=world_seed)


class KnowledgeLearners(WorldLearners):
    """Learners who know a concept or do not, and learn it at one stroke; nothing is forgotten.

    Source: Corbett and Anderson 1995; prerequisites gate P(T), exercises differ in difficulty. In BKT chance decides
    after every exercise anew. Here it decided beforehand how much practice of each concept each learner needs, which
    is the same distribution (a geometric waiting time) and leaves nothing to chance in a step: an unknown concept
    becomes known once the hazards -log(1 - P(T)) of its exercises sum to the learner's need, an exponential number of
    mean 1. Right and wrong answers teach alike. The state is (practice [B, N], need [B, N]), both in sums of hazards;
    what is known at the beginning needs nothing. Unseen learners need the median.

    >>> learners = KnowledgeLearners(num_concepts=5, num_items=5, num_learners=1, kind=KnowledgeWorld(learn=0.9))
    >>> from lpr_lightning.types import Exercise
    >>> state = torch.zeros(1, 5), torch.full((1, 5), 0.5)
    >>> after = learners.practise(state, Exercise.of_concepts(torch.tensor([0])), torch.ones(1))
    >>> learners.mastery(after)
    tensor([[0.8500, 0.2500, 0.2500, 0.2500, 0.2500]])
    """

    kind_class: ClassVar[type[WorldKind]] = KnowledgeWorld
    kind: KnowledgeWorld
    hazard: Tensor
    need: Tensor

    def prepare(self, seed: int) -> None:
        """Draw how fast each concept is learned, [N], and what each learner needs of each, [num_learners, N]."""
        generator = torch.Generator().manual_seed(2 * (seed + 500_000))
        logit = _logit(self.kind.learn) + self.kind.spread * torch.randn(self.num_concepts, generator=generator)
        self.register_buffer("hazard", torch.nn.functional.softplus(logit), persistent=False)  # -log(1 - P(T))
        drawn = torch.rand(self.num_learners, self.num_concepts, generator=generator)
        self.register_buffer("need", -torch.log1p(-drawn), persistent=False)

    def begin(self, learner: Tensor) -> State:
        """Return the state of learners [B] before any answer; unseen learners start at the population's mean."""
        known = self.own(self.ability, learner) - self.difficulty > self.kind.known
        outside = (learner < 0) | (learner >= self.num_learners)
        need = torch.where(outside[:, None], math.log(2), self.own(self.need, learner))
        return torch.zeros_like(need), need.masked_fill(known, 0.0)

    def start(self, request: PathRequest) -> State:
        """Return the learners' true states after their histories; `expected` learners forget what they will need."""
        practice, need = super().start(request)
        if not self.expects:
            return practice, need
        return torch.zeros_like(practice), torch.where(practice >= need, 0.0, torch.inf)

    def level(self, state: State) -> Tensor:
        """Return what is known, [B, N]: 1 or 0; where the need is infinite, that is not known, its chance."""
        practice, need = state
        return torch.where(need.isinf(), -torch.expm1(-practice), (practice >= need).float())

    def success(self, level: Tensor, concept: Tensor, difficulty: Tensor) -> Tensor:
        """Return the chance of a right answer, elementwise: that of guess or slip, moved by the exercise's own ease."""
        guess, right = _logit(self.kind.guess), _logit(1 - self.kind.slip)
        ease = self.kind.discrimination * (self.difficulty[concept] - difficulty)
        return torch.sigmoid(guess + (right - guess) * level + ease)

    def learn(self, state: State, concept: Tensor, difficulty: Tensor, correct: Tensor) -> State:
        """Return the state after an exercise of every row; answers change nothing."""
        practice, need = state
        ready = self.level(state).masked_fill(~self.needs[concept], 1.0).prod(1)
        gained = self.hazard[concept] * (self.kind.leak + (1 - self.kind.leak) * ready)
        return practice.scatter_add(1, concept[:, None], gained[:, None]), need


def _logit(chance: float) -> float:
    return math.log(chance / (1 - chance))
