"""What is written and drawn of the mastery of unseen learners."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lpr_lightning.callbacks.mastery_writers import MasteryWriter, SuccessWriter, answers_on, draw, panel_of
from lpr_lightning.errors import SettingError
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import InteractionBatch, Interactions


def write(path: Path, learners: int, concepts: int, targets: set[tuple[int, int]], answers: dict[int, int]) -> Path:
    """Mastery .5 everywhere; everyone has the same number of answers on a concept."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(MasteryWriter.columns)
        for one in range(learners):
            for concept in range(concepts):
                wanted = "yes" if (one, concept) in targets else ""
                table.writerow([f"l{one}", concept, f"c{concept}", one / 10, answers.get(concept, 0), wanted])
    return path


def test_the_picture_shows_targets_and_what_was_answered_most(tmp_path: Path) -> None:
    file = write(tmp_path / "mastery.csv", 5, 8, {(1, 6), (4, 7)}, {2: 3, 0: 1, 4: 2})
    panel = panel_of(file, learners=3, concepts=3)
    assert panel.learners == ["l0", "l1", "l2"]
    assert panel.concepts == ["c2", "c4", "c6"]  # the target of the fifth learner is not in the picture
    assert panel.mastery == [[0.0] * 3, [0.1] * 3, [0.2] * 3]
    assert panel.target == [(2, 1)]
    assert panel.answered == [(column, row) for row in range(3) for column in range(2)]
    assert draw(panel).get_axes()


def test_one_learner_and_one_concept_are_enough_for_a_picture(tmp_path: Path) -> None:
    panel = panel_of(write(tmp_path / "mastery.csv", 1, 1, set(), {}), 30, 30)
    assert (panel.learners, panel.concepts, panel.target, panel.answered) == (["l0"], ["c0"], [], [])
    assert draw(panel).get_axes()


def test_padding_counts_no_answers() -> None:
    batch = Interactions.from_lists([[(0, 1), (2, 0)], [(1, 1)]]).batch(torch.arange(2))
    under = torch.where(batch.mask[..., None], batch.concept, 2)
    filled = InteractionBatch(under, batch.item, batch.correct, batch.mask, batch.learner)
    assert torch.equal(answers_on(batch, torch.zeros(2, 3)), answers_on(filled, torch.zeros(2, 3)))


@pytest.mark.parametrize("writer", [MasteryWriter(), SuccessWriter()])
def test_a_module_that_predicts_something_else_is_told(writer: MasteryWriter | SuccessWriter) -> None:
    with pytest.raises(SettingError, match="predict_step"):
        writer.rows(Trainer(logger=False), Ladder(3).request([[0]], 1), {"request": 1})


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SettingError, match="learners"):
        MasteryWriter(learners=0)
    with pytest.raises(SettingError, match="concepts"):
        MasteryWriter(concepts=0)
