"""Does a tracer learn the same thing twice where two threads share the work?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.models.calibrated_dkt import CalibratedDKT
from lpr_lightning.models.dkt import DKT
from lpr_lightning.models.simple_kt import SimpleKT

MAKERS: dict[str, Callable[[int, int], LightningModule]] = {
    "DKT": lambda concepts, items: DKT(concepts, 100, 100),
    "SimpleKT": lambda concepts, items: SimpleKT(concepts, items, width=32),
    "CalibratedDKT": lambda concepts, items: CalibratedDKT(concepts, items, embedding_size=64, hidden_size=64),
}


@pytest.fixture
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_two_threads")
@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_gives_the_same_weights_bit_for_bit(name: str) -> None:
    data = SyntheticLearners(num_learners=120, num_concepts=10, batch_size=64)
    weights = []
    for _ in range(2):
        seed_everything(0)
        tracer = MAKERS[name](data.num_concepts, data.num_items)
        trainer = Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False)
        trainer.fit(tracer, datamodule=data)
        weights.append(torch.cat([weight.detach().flatten() for weight in tracer.parameters()]))
    assert torch.equal(weights[0], weights[1])
