"""A few learners out of all that pass by, the same whatever the order, the batches and the processes."""

from __future__ import annotations

from typing import NamedTuple

import torch

from lpr_lightning.cache import fingerprint
from lpr_lightning.callbacks.across_ranks import gathered_objects
from lpr_lightning.types import InteractionBatch


class Candidate(NamedTuple):
    """A learner who may be chosen, with a history of one row; the smallest `order` wins."""

    order: tuple[bool, str]
    answers: int
    history: InteractionBatch


class ChosenLearners:
    """Draws `count` learners by a seed, those with at least `min_answers` answers first.

    Who comes before whom depends on the seed and the learner's number alone. Of several histories of one learner the
    longest counts; strangers (learner -1) are told apart by their concepts. Histories are cut to their first `steps`
    answers.

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
                candidates.append(Candidate(order, answers, _cut(history, row, min(answers, self.steps))))
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


def _cut(history: InteractionBatch, row: int, answers: int) -> InteractionBatch:
    """Return the first answers of one row, on the CPU."""
    one = history.select(torch.tensor([row], device=history.learner.device)).to("cpu")
    first = slice(0, answers)
    return InteractionBatch(
        one.concept[:, first], one.item[:, first], one.correct[:, first], one.mask[:, first], one.learner
    )
