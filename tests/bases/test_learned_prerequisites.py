"""Prerequisites learned from answers: a planted edge is found, none where there is none, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lpr_lightning.bases.learned_prerequisites import LearnedPrerequisites, largest_within_error
from lpr_lightning.datamodules.base import LearnerDataModule
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.errors import SettingError
from lpr_lightning.nets.performance_factors import PerformanceFactorsNet
from lpr_lightning.types import Interactions, Split, State

CONCEPTS, LEARNERS, ANSWERS = 4, 240, 40


class Planted(LearnerDataModule):
    """Learners who know concepts 0 and 1 or not; practice of 2 helps those who know 0 if `edge`, else everybody."""

    def __init__(self, folder: Path, edge: bool) -> None:
        self.edge = edge
        self.knows = torch.rand(LEARNERS, 2, generator=torch.Generator().manual_seed(3)) < 0.5
        super().__init__(cache_dir=str(folder), split=(0.6, 0.3, 0.1))

    def source_key(self) -> list[object]:
        return [self.edge]

    def read(self) -> AnswerTable:
        generator, rows = torch.Generator().manual_seed(4), []
        for know in self.knows.tolist():
            order = [0, 1, *torch.randint(2, 4, (ANSWERS,), generator=generator).tolist()]
            times, row = [0] * CONCEPTS, []
            for concept in order:
                level = 4.0 * know[concept] - 2 if concept < 2 else -1.0
                if concept >= 2 and (know[0] or concept == 3 or not self.edge):
                    level += 1.2 * math.log1p(times[concept])
                chance = float(torch.tensor(level).sigmoid())
                row.append((concept, int(float(torch.rand((), generator=generator)) < chance)))
                times[concept] += 1
            rows.append(row)
        names = [f"concept {number}" for number in range(CONCEPTS)]
        learners = [str(number) for number in range(LEARNERS)]
        log = Interactions.from_lists(rows)
        return AnswerTable(replace(log, item=log.item.clone()), learners, names, names, names)


class Knowing(PerformanceFactorsNet):
    """A tracer that knows concepts 0 and 1 from their only answer, and takes all others for mastered."""

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        right = state[0][:, 0, :2] > 0
        told = torch.where(right, 0.95, 0.05)
        every = torch.cat([told, torch.full((len(told), CONCEPTS - 2), 0.95)], 1)
        return every if concept is None else every.gather(1, concept)


def test_a_planted_edge_is_found_and_no_other(tmp_path: Path) -> None:
    learned = LearnedPrerequisites.of(Planted(tmp_path, True), Knowing(CONCEPTS), penalties=(1e-3, 3e-3))
    assert [edge[:2] for edge in learned.edges()] == [(0, 2)]
    assert learned.candidate[2].tolist() == [True, True, False, False]
    assert learned.losses[learned.penalty] < learned.losses[math.inf] - 0.01


def test_where_nothing_waits_for_anything_there_is_no_edge(tmp_path: Path) -> None:
    learned = LearnedPrerequisites.of(Planted(tmp_path, False), Knowing(CONCEPTS))
    assert learned.edges() == []
    assert min(learned.losses.values()) > learned.losses[math.inf] - 1e-3


def test_progress_is_told_and_the_same_is_found_again(tmp_path: Path) -> None:
    heard: list[str] = []
    data = Planted(tmp_path, True)
    first = LearnedPrerequisites.of(data, Knowing(CONCEPTS), penalties=(1e-3,), told=heard.append)
    again = LearnedPrerequisites.of(data, Knowing(CONCEPTS), penalties=(1e-3,))
    assert torch.equal(first.strength, again.strength)
    assert any("learners" in one for one in heard)
    assert any("penalty 0.001, step 5 of" in one for one in heard)


def test_test_learners_are_never_read(tmp_path: Path) -> None:
    class Guarded(Planted):
        def interactions(self, split: Split) -> Interactions:
            assert split in ("train", "val")
            return super().interactions(split)

    LearnedPrerequisites.of(Guarded(tmp_path, True), Knowing(CONCEPTS), penalties=(1e-3,))


@pytest.mark.parametrize(
    ("penalties", "share", "concepts", "message"),
    [
        ((), 0.6, CONCEPTS, "penalties"),
        ((-1.0,), 0.6, CONCEPTS, "penalties"),
        ((1.0,), 2.0, CONCEPTS, "share"),
        ((1.0,), 0.6, 3, "a tracer of 4 concepts"),
    ],
)
def test_what_cannot_work_is_refused(
    penalties: tuple[float, ...], share: float, concepts: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=message):
        LearnedPrerequisites.of(Planted(tmp_path, True), Knowing(concepts), penalties, share)


def test_the_largest_penalty_within_an_error_of_the_best() -> None:
    """Differences 1, 1, -.2, -.2 have the mean .4; its error is sqrt(1.2^2 + 1.2^2) / 4 = .42 for two learners."""
    best, learner = torch.zeros(4), torch.tensor([0, 0, 1, 1])
    same, worse = torch.tensor([1.0, 1.0, -0.2, -0.2]), torch.tensor([1.0, 1.0, 1.0, 0.9])
    assert largest_within_error({1.0: best, 2.0: same, 3.0: worse}, learner) == 2.0
    assert largest_within_error({1.0: best, 2.0: same}, torch.arange(4)) == 1.0  # .3 if the answers were independent
