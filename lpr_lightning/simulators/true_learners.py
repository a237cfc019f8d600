"""Learners of known truth: what they know, how they learn and how they forget is written down, not estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments, built
from lpr_lightning.simulators.synthetic_world import build_world
from lpr_lightning.types import PAD, PathRequest, SimulatorState


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
            if getattr(self, name) <= 0:
                raise SettingError(name, getattr(self, name), "a number above 0")
        if self.rate < 0:
            raise SettingError("rate", self.rate, "a number of at least 0")
        for name in ("wrong_share", "forgetting", "guess", "slip"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(name, getattr(self, name), "a share between 0 and 1")
        if self.guess + self.slip >= 1:
            raise SettingError("guess", self.guess, f"less than 1 - slip = {1 - self.slip}")


class TrueLearners(HyperparametersMixin, nn.Module):
    """Simulates the learners of a seeded world, whose true mastery is readable at any moment.

    Success follows a four-parameter logistic item response model. An answer to a concept lifts its ability by
    rate x zone x gate x effort (see `Learning`), while what was gained on the others fades towards what the learner
    came with. The state is (ability [B, N], ability at the beginning [B, N]).

    `start` replays the request's history from the learner's own beginning, so that the state is the learner's true
    one, provided that the history is whole (not cut by `max_history`). Learners outside the world (-1) begin at the
    population's mean. Of an answer with several concepts the first counts.

    Args:
        num_concepts: concepts, five to a topic.
        num_items: exercises, spread evenly over the concepts.
        num_learners: learners in the world.
        learning: how learners answer and learn; None for the defaults.
        exam: "soft" sums the true success probabilities of the targets, "hard" counts those of `threshold` or more.
        threshold: success probability from which a concept counts as mastered.
        deterministic: answer rightly where the success probability is at least .5, instead of drawing.
        world_seed: seed of the world.

    >>> learners = TrueLearners(num_concepts=10, num_items=20, num_learners=3, deterministic=True)
    >>> state = learners.begin(torch.tensor([0, 1]))
    >>> after, answer, chance = learners.step(state, torch.tensor([0, -1]))
    >>> bool(learners.mastery(after)[0, 0] > chance[0]), bool((after[0][1] == state[0][1]).all())
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
    _generator: torch.Generator

    def __init__(
        self,
        num_concepts: int = 30,
        num_items: int = 150,
        num_learners: int = 600,
        learning: Learning | None = None,
        exam: Literal["soft", "hard"] = "soft",
        threshold: float = 0.5,
        deterministic: bool = False,
        world_seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        if num_concepts < 2:
            raise SettingError("num_concepts", num_concepts, "at least 2")
        if num_items < num_concepts:
            raise SettingError(
                "num_items", num_items, f"at least num_concepts={num_concepts}", "each concept needs an item"
            )
        if num_learners < 1:
            raise SettingError("num_learners", num_learners, "at least 1")
        if exam not in ("soft", "hard"):
            raise SettingError("exam", exam, "'soft' or 'hard'")
        if not 0 < threshold < 1:
            raise SettingError("threshold", threshold, "a probability between 0 and 1")
        self.num_concepts, self.num_items, self.num_learners = num_concepts, num_items, num_learners
        self.learning = built(learning) or Learning()
        self.exam_kind, self.threshold, self.deterministic = exam, threshold, deterministic
        self.world = build_world(num_concepts, num_items, num_learners, world_seed)
        needs = torch.zeros(num_concepts, num_concepts, dtype=torch.bool)
        needs[self.world.prerequisites[:, 1], self.world.prerequisites[:, 0]] = True
        self.register_buffer("needs", needs, persistent=False)
        for name in ("difficulty", "item_difficulty", "item_concept", "ability", "prerequisites"):
            self.register_buffer(name, getattr(self.world, name), persistent=False)
        self.seed(world_seed)

    def begin(self, learner: Tensor) -> SimulatorState:
        """Return the state of learners [B] before any answer; strangers' is the population's mean."""
        known = (learner >= 0) & (learner < self.num_learners)
        own = self.ability[torch.where(known, learner, 0)]
        ability = torch.where(known[:, None], own, self.ability.mean(0))
        return ability, ability

    def start(self, request: PathRequest) -> SimulatorState:
        """Return the learners' true states after their histories."""
        history = request.history
        state = self.begin(request.learner)
        concepts = torch.where(history.mask, history.concept[..., 0], PAD)
        difficulty = self._item_difficulty(history.item, concepts)
        for concept, hard, correct in zip(concepts.unbind(1), difficulty.unbind(1), history.correct.unbind(1)):
            state = self.practise(state, concept, hard, correct)
        return state

    def step(self, state: SimulatorState, concept: Tensor) -> tuple[SimulatorState, Tensor, Tensor]:
        """Let each learner answer an exercise of the concept's own difficulty, and learn from it."""
        active = concept != PAD
        difficulty = self.difficulty[concept.clamp_min(0)]
        chance = self.success(state, concept, difficulty)
        answer = chance >= 0.5 if self.deterministic else self.draw(chance)
        answer = (answer & active).to(chance)
        return self.practise(state, concept, difficulty, answer), answer, torch.where(active, chance, 0.0)

    def exam(self, state: SimulatorState, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the exam score on `targets` [B, N], soft or hard, and the number of targets; nobody learns."""
        mastery = self.mastery(state)
        passed = mastery if self.exam_kind == "soft" else (mastery >= self.threshold).to(mastery)
        return (passed * targets).sum(1), targets.sum(1).to(mastery)

    def mastery(self, state: SimulatorState) -> Tensor:
        """Return the true success probability on every concept, [B, N]."""
        return self._chance(state[0] - self.difficulty)

    def success(self, state: SimulatorState, concept: Tensor, difficulty: Tensor) -> Tensor:
        """Return the true success probability [B] on exercises of `concept` [B] and `difficulty` [B]."""
        own = state[0].gather(1, concept.clamp_min(0)[:, None]).squeeze(1)
        return self._chance(own - difficulty)

    def practise(self, state: SimulatorState, concept: Tensor, difficulty: Tensor, correct: Tensor) -> SimulatorState:
        """Return the state after one answer each; rows whose concept is -1 stay as they are."""
        ability, beginning = state
        place = concept.clamp_min(0)[:, None]
        own = ability.gather(1, place).squeeze(1)
        zone = torch.exp(-((own - difficulty) / self.learning.zone).square() / 2)
        effort = self.learning.wrong_share + (1 - self.learning.wrong_share) * correct
        grown = own + self.learning.rate * zone * self.gate(state, concept) * effort
        faded = ability - self.learning.forgetting * (ability - beginning)
        practised = faded.scatter(1, place, grown[:, None])
        return torch.where((concept != PAD)[:, None], practised, ability), beginning

    def gate(self, state: SimulatorState, concept: Tensor) -> Tensor:
        """Return how far the prerequisites of `concept` [B] hold, [B] in [0, 1]: as far as the weakest."""
        held = torch.sigmoid(self.learning.gate * (state[0] - self.difficulty))
        return held.masked_fill(~self.needs[concept.clamp_min(0)], 1.0).amin(1)

    def draw(self, chance: Tensor) -> Tensor:
        """Return True with probability `chance`, from the simulator's own random numbers."""
        if self._generator.device != chance.device:
            self._generator = torch.Generator(chance.device).manual_seed(self._seed)
        return torch.rand(chance.shape, generator=self._generator, device=chance.device) < chance

    def seed(self, seed: int) -> None:
        """Restart the simulator's own random numbers."""
        self._seed = seed
        self._generator = torch.Generator(self.difficulty.device).manual_seed(seed)

    def _chance(self, gap: Tensor) -> Tensor:
        kind = self.learning
        return kind.guess + (1 - kind.guess - kind.slip) * torch.sigmoid(kind.discrimination * gap)

    def _item_difficulty(self, item: Tensor, concept: Tensor) -> Tensor:
        known = (item >= 0) & (item < self.num_items)
        own = self.item_difficulty[torch.where(known, item, 0)]
        return torch.where(known, own, self.difficulty[concept.clamp_min(0)])
