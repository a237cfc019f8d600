"""What mastery is set against what answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lpr_lightning.callbacks import MasteryReport
from lpr_lightning.callbacks.mastery_report import front_of
from lpr_lightning.models.dkt import DKT
from lpr_lightning.types import InteractionBatch, Interactions, TracerState


class Shares(LightningModule):
    """A tracer whose mastery is the share of right answers so far, on whatever concept."""

    num_concepts = 3

    def initial_state(self, batch_size: int) -> TracerState:
        return torch.zeros(batch_size), torch.zeros(batch_size)

    def encode(self, history: InteractionBatch) -> TracerState:
        return (history.correct * history.mask).sum(1), history.mask.sum(1)

    def observe(self, state: TracerState, concept: Tensor, correct: Tensor) -> TracerState:
        return state[0] + correct, state[1] + 1

    def predict(self, state: TracerState, concept: Tensor) -> Tensor:
        return state[0] / state[1]

    def mastery(self, state: TracerState) -> Tensor:
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


def test_nothing_of_what_follows_is_read() -> None:
    torch.manual_seed(0)
    tracer = DKT(num_concepts=4).eval()
    cut = torch.tensor([2, 1])
    fronts = []
    for rest in ([(0, 0), (1, 1)], [(3, 1)], []):
        log = Interactions.from_lists([[(1, 1), (2, 0), *rest], [(0, 1), *rest, (2, 1)]])
        fronts.append(front_of(log.batch(torch.arange(2)), cut))
    expected = Interactions.from_lists([[(1, 1), (2, 0)], [(0, 1)]]).batch(torch.arange(2))
    for front in fronts:
        for name in ("concept", "item", "correct", "mask", "learner"):
            assert torch.equal(getattr(front, name), getattr(expected, name))
        torch.testing.assert_close(tracer.encode(front), tracer.encode(expected))


@pytest.mark.parametrize("learners", [1, 2])
def test_without_pairs_it_is_chance(tmp_path: Path, learners: int) -> None:
    assert agreement(Interactions.from_lists([[(0, 1), (0, 1)]] * learners), tmp_path) == 0.5
