"""Learners of known truth: what they know, how they learn and how they forget is written down, not estimated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked, checked_positive, checked_share
from lpr_lightning.hparams import arguments, built
from lpr_lightning.simulators.actions import ActionSet, ConceptActions
from lpr_lightning.simulators.synthetic_world import build_world
from lpr_lightning.types import Exercise, PathRequest, State


@dataclass(frozen=True)
class Learning:
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
    """

    rate: float = 2.0
    zone: float = 1.2
    wrong_share: float = 0.5
    gate: float = 4.0
    forgetting: float = 0.01
    discrimination: float = 1.7
    guess: float = 0.1
    slip: float = 0.05

    def __post_init__(self) -> None:
        for name in ("zone", "gate", "discrimination"):
            checked_positive(name, vars(self)[name])
        checked("rate", self.rate, 0.0)
        for name in ("wrong_share", "forgetting", "guess", "slip"):
            checked_share(name, vars(self)[name])
        if self.guess + self.slip >= 1:
            raise SettingError("guess", self.guess, f"less than 1 - slip = {1 - self.slip}")


class TrueLearners(HyperparametersMixin, nn.Module):
    """Simulates the learners of a seeded world, whose true mastery is readable at any moment.

    Success follows a four-parameter logistic item response model. An answer to a concept lifts its ability by
    rate x zone x gate x effort (see `Learning`), while what was gained on the others fades towards what the learner
    came with. The state is (ability [B, N], ability at the beginning [B, N]).

    `start` replays the request's history from the learner's own beginning, so that the state is the learner's true
    one, provided that the history is whole (not cut by `max_history`). Learners outside the world (-1) begin at the
    population's mean. An exercise on a concept at large is of the concept's own difficulty, a question of the world
    of its own. Of an answer with several concepts the first counts.

    Args:
        num_concepts: concepts, five to a topic.
        num_items: exercises, spread evenly over the concepts.
        num_learners: learners in the world.
        learning: how learners answer and learn; None for the defaults.
        deterministic: answer rightly where the success probability is at least .5, instead of drawing.
        actions: what may be recommended; default the concepts.
        world_seed: seed of the world.

    >>> learners = TrueLearners(num_concepts=10, num_items=20, num_learners=3)
    >>> state, asked = learners.begin(torch.tensor([0, 1])), Exercise.of_concepts(torch.tensor([0, -1]))
    >>> after = learners.practise(state, asked, torch.tensor([1.0, 0.0]))
    >>> bool(learners.mastery(after)[0, 0] > learners.mastery(state)[0, 0]), bool((after[0][1] == state[0][1]).all())
    (True, True)

    Raises:
        SettingError: an argument is out of its range.
    """

    difficulty: Tensor
    item_difficulty: Tensor
    item_concept: Tensor
    ability: Tensor
    needs: Tensor
    prerequisites: Tensor

    def __init__(
        self,
        num_concepts: int = 30,
        num_items: int = 150,
        num_learners: int = 600,
        learning: Learning | None = None,
        deterministic: bool = False,
        actions: ActionSet | None = None,
        world_seed: int = 0,
    ) -> None:
        super().__init__()
        actions = built(actions, ActionSet)
        self.save_hyperparameters(arguments(locals()), logger=False)
        checked("num_concepts", num_concepts, 2)
        if num_items < num_concepts:
            allowed = f"at least num_concepts={num_concepts}"
            raise SettingError("num_items", num_items, allowed, "each concept needs an item")
        checked("num_learners", num_learners, 1)
        self.num_concepts, self.num_items, self.num_learners = num_concepts, num_items, num_learners
        self.learning = built(learning, Learning) or Learning()
        self.deterministic = deterministic
        self.action_set: ActionSet = actions or ConceptActions(num_concepts)
        self.world = build_world(num_concepts, num_items, num_learners, world_seed)
        needs = torch.zeros(num_concepts, num_concepts, dtype=torch.bool)
        needs[self.world.prerequisites[:, 1], self.world.prerequisites[:, 0]] = True
        self.register_buffer("needs", needs, persistent=False)
        for name in ("difficulty", "item_difficulty", "item_concept", "ability", "prerequisites"):
            self.register_buffer(name, vars(self.world)[name], persistent=False)

    def begin(self, learner: Tensor) -> State:
        """Return the state of learners [B] before any answer; unseen learners start at the population's mean."""
        known = (learner >= 0) & (learner < self.num_learners)
        own = self.ability[torch.where(known, learner, 0)]
        ability = torch.where(known[:, None], own, self.ability.mean(0))
        return ability, ability

    @property
    def actions(self) -> ActionSet:
        """What may be recommended (a property, since protocols overlook submodules from Python 3.12 on)."""
        return self.action_set

    def start(self, request: PathRequest) -> State:
        """Return the learners' true states after their histories."""
        history = request.history.first(request.history.lengths)  # with nothing left under the mask
        state = self.begin(request.learner)
        for step in range(history.mask.shape[1]):
            state = self.practise(state, history.asked(step), history.correct[:, step])
        return state

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the true success probability, [B] or [B, A]."""
        concept, difficulty = self._asked(asked)
        return self._chance(state[0].gather(1, concept.clamp_min(0)) - difficulty).view(asked.shape)

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        """Return right answers with these probabilities; the likeliest where deterministic, or without draws."""
        likeliest = self.deterministic or draws is None
        chance = 0.5 if likeliest or draws is None else draws.uniform(*probability.shape[1:])
        return ((probability >= chance) if likeliest else (probability > chance)).to(probability)

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each; rows that are asked nothing stay as they are."""
        concept, difficulty = self._asked(asked)
        count = concept.shape[1]
        place, difficulty = concept.reshape(-1, 1), difficulty.reshape(-1)
        ability, beginning = (part.repeat_interleave(count, 0) if count > 1 else part for part in state)
        going, place = place >= 0, place.clamp_min(0)
        own = ability.gather(1, place).squeeze(1)
        zone = torch.exp(-((own - difficulty) / self.learning.zone).square() / 2)
        effort = self.learning.wrong_share + (1 - self.learning.wrong_share) * correct.reshape(-1)
        grown = own + self.learning.rate * zone * self.gate(ability, place.squeeze(1)) * effort
        faded = ability - self.learning.forgetting * (ability - beginning)
        return torch.where(going, faded.scatter(1, place, grown[:, None]), ability), beginning

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the same: whoever answers practises."""
        return self.practise(state, asked, correct)

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the true success probability on every concept [B, N], or on some, [B * G, M]."""
        if concept is None:
            return self._chance(state[0] - self.difficulty)
        concept = concept.repeat_interleave(len(state[0]) // max(len(concept), 1), 0)
        return self._chance(state[0].gather(1, concept) - self.difficulty[concept])

    def gate(self, ability: Tensor, concept: Tensor) -> Tensor:
        """Return how far the prerequisites of `concept` [B] hold, [B] in [0, 1]: as far as the weakest."""
        held = torch.sigmoid(self.learning.gate * (ability - self.difficulty))
        return held.masked_fill(~self.needs[concept], 1.0).amin(1)

    def _chance(self, gap: Tensor) -> Tensor:
        kind = self.learning
        return kind.guess + (1 - kind.guess - kind.slip) * torch.sigmoid(kind.discrimination * gap)

    def _asked(self, asked: Exercise) -> tuple[Tensor, Tensor]:
        """Return concept (-1 where nothing is asked) and difficulty of exercises, [B, A]."""
        asked = asked.candidates()
        concept, item = asked.concept[..., 0], asked.item
        known = (item >= 0) & (item < self.num_items)
        own = self.item_difficulty[torch.where(known, item, 0)]
        return concept, torch.where(known, own, self.difficulty[concept.clamp_min(0)])
