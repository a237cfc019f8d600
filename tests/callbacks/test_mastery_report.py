"""What mastery is set against what answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lpr_lightning.callbacks import MasteryReport
from lpr_lightning.types import Exercise, InteractionBatch, Interactions, State


class Shares(LightningModule):
    """A tracer whose mastery is the share of right answers so far, on whatever concept."""

    num_concepts = 3

    def initial_state(self, batch_size: int) -> State:
        return torch.zeros(batch_size), torch.zeros(batch_size)

    def encode(self, history: InteractionBatch) -> State:
        return (history.correct * history.mask).sum(1), history.mask.sum(1)

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        return state[0] + correct, state[1] + 1

    practise = observe

    def predict(self, state: State, asked: Exercise) -> Tensor:
        return state[0] / state[1]

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        return (state[0] / state[1])[:, None].expand(-1, 3)

    def test_step(self, batch: InteractionBatch, batch_idx: int) -> None:
        """Give nothing away."""


def agreement(log: Interactions, folder: Path, size: int = 2, **settings: Any) -> float:
    batches = [log.batch(index) for index in torch.arange(log.num_learners).tensor_split(-(-log.num_learners // size))]
    loader: Any = torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    options: dict[str, Any] = {"enable_progress_bar": False, "enable_checkpointing": False, "logger": False}
    trainer = Trainer(callbacks=[MasteryReport(**settings)], default_root_dir=folder, accelerator="cpu", **options)
    trainer.test(Shares(), loader, verbose=False)
    return float(trainer.callback_metrics["test/mastery_agreement"])


def test_by_hand(tmp_path: Path) -> None:
    """Fronts 1, 0.5 and 0; later on concept 2 right, wrong, right (its second answer there does not count): 1 of 2."""
    histories = [[(0, 1), (0, 1), (2, 1), (1, 1)], [(0, 1), (1, 0), (2, 0), (2, 1)], [(0, 0), (0, 0), (2, 1), (2, 0)]]
    for size in (1, 2, 3):
        assert agreement(Interactions.from_lists([*histories, [(1, 1)]]), tmp_path, size) == 0.5
    assert agreement(Interactions.from_lists(histories[:2]), tmp_path) == 1.0


def test_another_front(tmp_path: Path) -> None:
    """After three of four answers: 1, 1/3 and 2/3; the fourth, on concept 1, is right, right and wrong: 1 of 2."""
    histories = [
        [(0, 1), (0, 1), (2, 1), (1, 1)],
        [(0, 1), (1, 0), (2, 0), (1, 1)],
        [(0, 1), (0, 1), (2, 0), (1, 0)],
    ]
    assert agreement(Interactions.from_lists(histories), tmp_path, front=0.75) == 0.5


@pytest.mark.parametrize("learners", [1, 2])
def test_without_pairs_it_is_chance(tmp_path: Path, learners: int) -> None:
    assert agreement(Interactions.from_lists([[(0, 1), (0, 1)]] * learners), tmp_path) == 0.5
