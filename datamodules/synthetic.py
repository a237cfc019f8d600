"""Learners of known truth as a data set: their practice logs outside, what they really know inside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lpr_lightning.datamodules.base import LearnerDataModule, recorded
from lpr_lightning.datamodules.concept_map import ConceptMap
from lpr_lightning.datamodules.synthetic_wording import needed_concepts, worded_questions
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import built, plain
from lpr_lightning.questions import Questions
from lpr_lightning.simulators.true_learners import GrowthWorld
from lpr_lightning.simulators.world_learners import WorldKind, WorldLearners
from lpr_lightning.types import Interactions

RECIPE = 1
"""Part of the cache key: raised when the same arguments come to mean another world or other logs."""


class SyntheticLearners(LearnerDataModule):
    """Learners of a seeded world who practised on their own; nothing need be downloaded.

    Their logs are ordinary interactions, one concept an exercise. What the learners are like is an object, such as
    `world: {class_path: TransferWorld}`; docs/worlds.md says what is in each. `truth` gives the learners themselves
    as a simulator, whose states are what each learner really knows.

    Args:
        num_concepts: concepts, five to a topic, each a prerequisite of the next.
        num_items: exercises; five to a concept when not given.
        num_learners: learners in all splits together.
        answers: least and greatest number of answers in a log.
        world: how learners answer, learn, forget and choose; None for the growth of `GrowthWorld`.
        world_seed: seed of the world and the logs; `seed` is that of the split.
        concept_map: JSON file {concept: [questions]}, such as ExRec's `cluster_to_que_ids_map.json`: the learners
            practise these questions, and `num_concepts` and `num_items` are the file's. What they are like, how hard
            questions are and what needs what remain those of the world. A question teaches its rarest concept.
        common: the arguments of `LearnerDataModule`.

    Raises:
        SettingError: an argument is out of its range.
    """

    def __init__(
        self,
        num_concepts: int = 30,
        num_items: int | None = None,
        num_learners: int = 600,
        answers: tuple[int, int] = (40, 120),
        world: WorldKind | None = None,
        world_seed: int = 0,
        concept_map: str | None = None,
        **common: Any,
    ) -> None:
        hparams = recorded(locals())
        if len(answers) != 2 or not 1 <= answers[0] <= answers[1]:
            raise SettingError("answers", answers, "the least and the greatest number of answers, both at least 1")
        self.answers = (int(answers[0]), int(answers[1]))
        self.world_seed = world_seed
        kind = built(world, WorldKind) or GrowthWorld()
        self._map = None if concept_map is None else ConceptMap.read(concept_map)
        if self._map is not None:
            num_concepts, num_items = len(self._map.concepts), len(self._map.items)
        items = 5 * num_concepts if num_items is None else num_items
        self._learners = kind.learners(num_concepts, items, num_learners, world_seed)
        if self._map is not None:
            self._learners.place(self._map.item_concepts[:, 0])
        super().__init__(**common)
        self.save_hyperparameters(hparams, logger=False)

    @property
    def truth(self) -> WorldLearners:
        """The learners themselves."""
        return self._learners

    def source_key(self) -> list[object]:
        """Return what the world and the logs are made from."""
        learners = self._learners
        sizes = [learners.num_concepts, learners.num_items, learners.num_learners, *self.answers]
        kind = {"class_path": learners.kind.recipe, "init_args": plain(vars(learners.kind))}
        placed = [] if self._map is None else [self._map.item_concepts.tolist(), self._map.items, self._map.concepts]
        return [RECIPE, sizes, kind, self.world_seed, *placed]

    def read(self) -> AnswerTable:
        """Let every learner practise."""
        world = self._learners.world
        log = self._learners.practice_log(*self.answers, self.world_seed)
        if self._map is not None:
            return self._on_map(log, self._map)
        return AnswerTable(
            log=log,
            learners=[f"Learner {number + 1}" for number in range(log.num_learners)],
            items=[f"{world.names[concept]}, exercise {place}" for place, concept in self._exercises()],
            concepts=world.names,
            concept_names=world.names,
            counts={"rows generated": len(log)},
            prerequisites=self._learners.prerequisites,
        )

    def read_questions(self) -> Questions:
        """Return wording by template: topic and level of the concept, numbers by the difficulty of the exercise.

        The questions of a map have no wording.
        """
        if self._map is not None:
            return super().read_questions()
        world = self._learners.world
        needs = needed_concepts(self._learners.prerequisites, self._learners.num_concepts)
        return worded_questions(
            self.item_names,
            world.names,
            [concept for _, concept in self._exercises()],
            world.item_difficulty.tolist(),
            needs,
            self.world_seed,
        )

    def _on_map(self, log: Interactions, placed: ConceptMap) -> AnswerTable:
        """Return the log with all concepts of each question, the one that it was chosen for first."""
        return AnswerTable(
            log=replace(log, concept=placed.item_concepts[log.item.long()].int()),
            learners=[f"Learner {number + 1}" for number in range(log.num_learners)],
            items=placed.items,
            concepts=placed.concepts,
            concept_names=[f"Concept {name}" for name in placed.concepts],
            counts={"rows generated": len(log), "concepts without a question of their own": placed.left_out},
            prerequisites=self._learners.prerequisites,
        )

    def _exercises(self) -> list[tuple[int, int]]:
        """Return each item's place among its concept's, from 1, and the concept."""
        count = self._learners.num_concepts
        return [(item // count + 1, item % count) for item in range(self._learners.num_items)]
