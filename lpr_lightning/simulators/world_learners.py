"""What all learners of known truth share: a seeded world, answers by difficulty, histories, actions."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import ClassVar, Self

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments, built
from lpr_lightning.simulators.actions import ActionSet, ConceptActions
from lpr_lightning.simulators.practice_logs import practice_log
from lpr_lightning.simulators.synthetic_world import build_world
from lpr_lightning.types import Exercise, Interactions, PathRequest, State, keep_rows, repeat_rows


class WorldKind(ABC):
    """A kind of world: how its learners answer, learn and forget. Subclasses are frozen dataclasses of numbers."""

    recipe: ClassVar[str]
    """Stands for the kind in cache keys; changed when the same numbers come to mean another world or other logs."""
    stream: ClassVar[int]
    """Sets the kind's random numbers apart from those of other kinds."""
    discrimination: float
    guess: float
    slip: float

    @abstractmethod
    def learners(self, num_concepts: int, num_items: int, num_learners: int, world_seed: int = 0) -> WorldLearners:
        """Return the learners of a seeded world of this kind."""

    def seed(self, world_seed: int) -> int:
        """Return the seed of this kind's numbers."""
        return world_seed + 1_000_003 * self.stream

    def _check(self, above: tuple[str, ...] = (), least: tuple[str, ...] = (), shares: tuple[str, ...] = ()) -> None:
        """Refuse numbers out of range: `above` 0, at `least` 0, and `shares` from 0 to 1 (guess and slip always)."""
        for name in (*above, "discrimination"):
            if vars(self)[name] <= 0:
                raise SettingError(name, vars(self)[name], "a number above 0")
        for name in least:
            if vars(self)[name] < 0:
                raise SettingError(name, vars(self)[name], "a number of at least 0")
        for name in (*shares, "guess", "slip"):
            if not 0 <= vars(self)[name] <= 1:
                raise SettingError(name, vars(self)[name], "a share between 0 and 1")
        if self.guess + self.slip >= 1:
            raise SettingError("guess", self.guess, f"less than 1 - slip = {1 - self.slip}")


class WorldLearners(HyperparametersMixin, nn.Module, ABC):
    """Simulates the learners of a seeded world, whose true mastery is readable at any moment.

    Success follows a four-parameter logistic item response model of level minus difficulty; what a level is, and how
    practice changes it, is the subclass's. `start` replays the request's history from the learner's own beginning, so
    that the state is the learner's true one, provided that the history is whole (not cut by `max_history`). Learners
    outside the world (-1) begin at the population's mean. An exercise on a concept at large is of the concept's own
    difficulty, a question of the world of its own. Of an answer with several concepts the first counts.

    Args:
        num_concepts: concepts, five to a topic.
        num_items: exercises, spread evenly over the concepts.
        num_learners: learners in the world.
        kind: how learners answer and learn; None for the defaults of the kind that the class is for.
        deterministic: answer rightly where the success probability is at least .5, instead of drawing.
        actions: what may be recommended; default the concepts.
        world_seed: seed of the world.

    Raises:
        SettingError: an argument is out of its range.
    """

    kind_class: ClassVar[type[WorldKind]]
    """The kind of world that these learners live in."""
    has_prerequisites: ClassVar[bool] = True
    """Whether a concept can need others."""
    difficulty: Tensor
    item_difficulty: Tensor
    item_concept: Tensor
    ability: Tensor
    needs: Tensor

    def __init__(
        self,
        num_concepts: int = 30,
        num_items: int = 150,
        num_learners: int = 600,
        kind: WorldKind | None = None,
        deterministic: bool = False,
        actions: ActionSet | None = None,
        world_seed: int = 0,
    ) -> None:
        super().__init__()
        actions = built(actions, ActionSet)
        self.save_hyperparameters(arguments(locals()), logger=False)
        if num_concepts < 2:
            raise SettingError("num_concepts", num_concepts, "at least 2")
        if num_items < num_concepts:
            allowed = f"at least num_concepts={num_concepts}"
            raise SettingError("num_items", num_items, allowed, "each concept needs an item")
        if num_learners < 1:
            raise SettingError("num_learners", num_learners, "at least 1")
        self.num_concepts, self.num_items, self.num_learners = num_concepts, num_items, num_learners
        self.kind = built(kind, self.kind_class) or self.kind_class()
        self.deterministic, self.expects = deterministic, False
        self.action_set: ActionSet = actions or ConceptActions(num_concepts)
        seed = self.kind.seed(world_seed)
        self.world = build_world(num_concepts, num_items, num_learners, seed, self.has_prerequisites)
        needs = torch.zeros(num_concepts, num_concepts, dtype=torch.bool)
        needs[self.world.prerequisites[:, 1], self.world.prerequisites[:, 0]] = True
        self.register_buffer("needs", needs, persistent=False)
        for name in ("difficulty", "item_difficulty", "item_concept", "ability"):
            self.register_buffer(name, vars(self.world)[name], persistent=False)
        self.prepare(seed)

    def place(self, item_concept: Tensor) -> None:
        """Put the exercises on other concepts, [Q] int64, each with one at least; what they differ by stays.

        Raises:
            SettingError: there are more or fewer exercises, or a concept is left without any.
        """
        if len(item_concept) != self.num_items:
            raise SettingError("item_concept", len(item_concept), f"{self.num_items}, one for each exercise")
        items = torch.bincount(item_concept, minlength=self.num_concepts)
        if len(items) != self.num_concepts or not bool((items > 0).all()):
            raise SettingError("item_concept", "concepts without exercises", "an exercise for each concept at least")
        offset = self.item_difficulty - self.difficulty[self.item_concept]
        mean = torch.zeros_like(self.difficulty).index_add(0, item_concept, offset) / items
        self.item_concept = item_concept.to(self.item_concept)
        self.item_difficulty = self.difficulty[item_concept] + offset - mean[item_concept]

    def prepare(self, seed: int) -> None:
        """Add what else there is to know about the world, in buffers; called once, at the end of the constructor."""

    @property
    def prerequisites(self) -> Tensor | None:
        """The pairs (needed, needing), [E, 2] int64; None in a world where nothing needs anything."""
        return self.world.prerequisites if self.has_prerequisites else None

    @property
    def actions(self) -> ActionSet:
        """What may be recommended (a property, since protocols overlook submodules from Python 3.12 on)."""
        return self.action_set

    @abstractmethod
    def learn(self, state: State, concept: Tensor, difficulty: Tensor, correct: Tensor) -> State:
        """Return the state after an answer of every row: concepts, the exercises' difficulties and answers, [B]."""

    def begin(self, learner: Tensor) -> State:
        """Return the state of learners [B] before any answer; unseen learners start at the population's mean."""
        ability = self.own(self.ability, learner)
        return ability, ability

    def level(self, state: State) -> Tensor:
        """Return what success depends on, [B, N]."""
        return state[0]

    def success(self, level: Tensor, concept: Tensor, difficulty: Tensor) -> Tensor:
        """Return the chance of a right answer, elementwise."""
        kind = self.kind
        held = torch.sigmoid(kind.discrimination * (level - difficulty))
        return kind.guess + (1 - kind.guess - kind.slip) * held

    def practice_log(self, shortest: int, longest: int, world_seed: int = 0) -> Interactions:
        """Return what the learners did on their own before anybody recommended anything."""
        return practice_log(self, shortest, longest, self.kind.seed(world_seed))

    def expected(self) -> Self:
        """Return the same learners as a planner sees them that knows their states, but not what chance will bring.

        They answer with probabilities instead of draws: what a search with access to the truth should look into.
        """
        learners = copy.deepcopy(self)
        learners.expects = True
        return learners

    def own(self, table: Tensor, learner: Tensor) -> Tensor:
        """Return the rows of learners [B] in a table of all [num_learners, N], its mean for unseen learners."""
        known = (learner >= 0) & (learner < self.num_learners)
        return torch.where(known[:, None], table[torch.where(known, learner, 0)], table.mean(0))

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
        place = concept.clamp_min(0)
        return self.success(self.level(state).gather(1, place), place, difficulty).view(asked.shape)

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        """Return right answers with these probabilities; the likeliest where deterministic, or without draws."""
        if self.expects:
            return probability
        likeliest = self.deterministic or draws is None
        chance = 0.5 if likeliest or draws is None else draws.uniform(*probability.shape[1:])
        return ((probability >= chance) if likeliest else (probability > chance)).to(probability)

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each; rows that are asked nothing stay as they are."""
        concept, difficulty = self._asked(asked)
        state, concept = repeat_rows(state, concept.shape[1]), concept.flatten()
        after = self.learn(state, concept.clamp_min(0), difficulty.flatten(), correct.flatten())
        return keep_rows(state, after, concept >= 0)

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the same: whoever answers practises."""
        return self.practise(state, asked, correct)

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the true success probability on every concept [B, N], or on some, [B * G, M]."""
        level = self.level(state)
        if concept is None:
            return self.success(level, torch.arange(self.num_concepts, device=level.device), self.difficulty)
        concept = concept.repeat_interleave(len(level) // max(len(concept), 1), 0)
        return self.success(level.gather(1, concept), concept, self.difficulty[concept])

    def _asked(self, asked: Exercise) -> tuple[Tensor, Tensor]:
        """Return concept (-1 where nothing is asked) and difficulty of exercises, [B, A]."""
        asked = asked.candidates()
        concept, item = asked.concept[..., 0], asked.item
        known = (item >= 0) & (item < self.num_items)
        own = self.item_difficulty[torch.where(known, item, 0)]
        return concept, torch.where(known, own, self.difficulty[concept.clamp_min(0)])
