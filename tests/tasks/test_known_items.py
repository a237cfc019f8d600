"""A part of the questions, as if the others were not there."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.simulators.chosen_questions import ChosenQuestions
from lpr_lightning.tasks.known_items import KnownItems, known_items
from lpr_lightning.types import InteractionBatch, Interactions


def test_only_answers_to_known_questions_are_left() -> None:
    rows = [[(item, item % 2) for item in range(start, start + 40)] for start in (0, 20, 500)]
    log = Interactions.from_lists([*rows, []])
    known = known_items(torch.arange(600), 1 / 3, 0)
    batch = KnownItems().examples(log, "train", 600, 0).batch(torch.arange(3))
    assert isinstance(batch, InteractionBatch)
    for row, answers in enumerate(rows):
        left = [item for item, _ in answers if bool(known[item])]
        assert batch.item[row, batch.mask[row]].tolist() == left
        assert batch.correct[row, batch.mask[row]].tolist() == [item % 2 for item in left]
    assert 150 < int(known.sum()) < 250
    assert not torch.equal(known, known_items(torch.arange(600), 1 / 3, 1))
    for share in (0.0, 1.1):
        with pytest.raises(SettingError, match="share"):
            KnownItems(share=share)


def test_chosen_questions_are_numbered_anew() -> None:
    bank = ChosenQuestions([4, 1], 5)
    assert not bank.connected
    bank.bank.item_concepts = torch.arange(5)[:, None]
    assert bank.connected
    assert len(bank) == 2
    asked = bank.at(torch.tensor([[0, 1, -1]]))
    assert asked.item.tolist() == [[4, 1, -1]]
    assert asked.concept.squeeze(-1).tolist() == [[4, 1, -1]]
    for items in ([], [1, 1], [5], [-1]):
        with pytest.raises(SettingError, match="items"):
            ChosenQuestions(items, 5)
