"""A few learners and paths to look at one by one, and what to call them and their concepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from lightning.pytorch import Trainer

from lpr_lightning.bases.staged import datamodule_of
from lpr_lightning.cache import fingerprint
from lpr_lightning.ranks import gathered_objects
from lpr_lightning.types import InteractionBatch, Rollout


@runtime_checkable
class HasConceptNames(Protocol):
    """A datamodule whose concepts have readable names."""

    @property
    def concept_names(self) -> Sequence[str]:
        """One for each concept number."""
        ...


class Candidate(NamedTuple):
    """A learner who may be chosen, with a history of one row; the smallest `order` wins."""

    order: tuple[bool, str]
    answers: int
    history: InteractionBatch


class ChosenLearners:
    """Draws `count` learners by a seed, those with at least `min_answers` answers first.

    Who comes before whom depends on the seed and the learner's number alone, not on order, batches or processes. Of
    several histories of one learner the longest counts; unseen learners (-1) are told apart by their concepts.
    Histories are cut to their first `steps` answers.

    >>> from lpr_lightning.types import Interactions
    >>> log = Interactions.from_lists([[(0, 1)], [(0, 1), (1, 0), (2, 1)], [(1, 1), (1, 1)]])
    >>> chosen = ChosenLearners(count=2, steps=2, min_answers=2, seed=0)
    >>> chosen.take(log.batch(torch.arange(3)))
    >>> sorted(int(history.learner) for history in chosen.across_ranks())
    [1, 2]
    >>> [len(history.concept[0]) for history in chosen.across_ranks()]
    [2, 2]
    """

    def __init__(self, count: int, steps: int, min_answers: int, seed: int) -> None:
        self.count, self.steps, self.min_answers, self.seed = count, steps, min_answers, seed
        self._best: list[Candidate] = []

    def take(self, history: InteractionBatch) -> None:
        """Let the learners of a batch take part."""
        candidates = list(self._best)
        for row, (learner, answers) in enumerate(zip(history.learner.tolist(), history.lengths.tolist())):
            if answers:
                who = [learner] if learner >= 0 else [learner, *history.concept[row, :answers].flatten().tolist()]
                order = (answers < self.min_answers, fingerprint(self.seed, who))
                one = history.select(torch.tensor([row], device=history.learner.device)).to("cpu")
                candidates.append(Candidate(order, answers, one.first(torch.tensor([min(answers, self.steps)]))))
        self._best = self._best_of(candidates)

    def across_ranks(self) -> list[InteractionBatch]:
        """Return the histories of those chosen among all ranks, on the CPU, one row each; every rank must call it."""
        candidates = [one for of_rank in gathered_objects(self._best) for one in of_rank]
        return [one.history for one in self._best_of(candidates)]

    def _best_of(self, candidates: list[Candidate]) -> list[Candidate]:
        longest: dict[str, Candidate] = {}
        for one in sorted(candidates, key=lambda one: (one.order, -one.answers)):
            longest.setdefault(one.order[1], one)
        return list(longest.values())[: self.count]


def first_paths(rollout: Rollout, count: int) -> list[Rollout]:
    """Return up to `count` rollouts of one row each: the first path of the first groups."""
    rows = torch.arange(0, len(rollout), max(rollout.group_size, 1), device=rollout.action.device)[: max(count, 0)]
    single = replace(rollout, group_size=1)
    return [single.select(row[None]) for row in rows]


def title(learner: int) -> str:
    """Return what to call a learner of this number in the data set, -1 if unseen.

    >>> title(931), title(-1)
    ('learner 931', 'an unseen learner')
    """
    return f"learner {learner}" if learner >= 0 else "an unseen learner"


def concept_names(trainer: Trainer) -> Sequence[str]:
    """Return the names of the datamodule's concepts; none where it has none."""
    data = datamodule_of(trainer)
    return list(data.concept_names) if isinstance(data, HasConceptNames) else []


def name_of(concept: int, names: Sequence[str]) -> str:
    """Return the name of one concept.

    >>> name_of(1, ["Addition", "Fractions"]), name_of(7, [])
    ('Fractions', 'concept 7')
    """
    return names[concept] if 0 <= concept < len(names) else f"concept {concept}"


def short_name_of(concept: int, names: Sequence[str], width: int) -> str:
    """Return the name of one concept on one line of at most `width` characters.

    >>> short_name_of(0, ["Addition and Subtraction Fractions"], 20)
    'Addition and Subtra…'
    """
    name = " ".join(name_of(concept, names).split())
    return name if len(name) <= width else name[: width - 1].rstrip() + "…"
