"""In training every answer weighs the same, whatever batch it comes in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.bases.tracer import TracerModule
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.models.dkt import DKT
from lpr_lightning.models.neural_growth import NeuralGrowth
from lpr_lightning.models.simple_kt import SimpleKT
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.types import InteractionBatch, Interactions


class Weights(Callback):
    """Notes the weight and the answers of each training batch."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int, int]] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: InteractionBatch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, TracerModule)
        counted = int(batch.mask[:, pl_module.first_answer :].sum())
        self.seen.append((float(pl_module.batch_weight(batch)), counted, len(batch)))


@pytest.mark.parametrize("kind", [DKT, NeuralGrowth, SimpleKT], ids=lambda kind: kind.__name__)
def test_batches_weigh_as_much_as_they_have_answers(kind: type[TracerModule], tmp_path: Path) -> None:
    data = SyntheticLearners(
        num_learners=60, num_concepts=5, answers=(3, 60), batch_size=4, task=NextAnswers(max_length=40)
    )
    data.prepare_data()
    data.setup("fit")
    sizes = data.examples("train").sizes
    module = SimpleKT(5, data.num_items, width=8) if kind is SimpleKT else kind(5)
    weights = Weights()
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[weights],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
        limit_val_batches=0,
    )
    trainer.fit(module, datamodule=data)
    all_answers = int((sizes - module.first_answer).sum())
    assert sum(counted for _, counted, _ in weights.seen) == all_answers
    for weight, counted, rows in weights.seen:
        assert weight == pytest.approx(counted / rows / (all_answers / len(sizes)), rel=1e-5)
    assert sum(weight * rows for weight, _, rows in weights.seen) == pytest.approx(len(sizes), rel=1e-5)
    assert max(weight for weight, _, _ in weights.seen) > 2 * min(weight for weight, _, _ in weights.seen)


def test_the_gradient_of_a_pass_is_that_of_the_mean_over_all_answers() -> None:
    """Batches of four rows alike in length, summed by rows, against all rows at once."""
    data = SyntheticLearners(num_learners=40, num_concepts=4, answers=(3, 40), batch_size=4)
    data.prepare_data()
    data.setup("fit")
    module = DKT(4, 4, 4, dropout=0.0)
    examples = data.examples("train")
    module.training_size = int((examples.sizes - 1).sum()), len(examples.sizes)
    whole = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(whole, InteractionBatch)

    def gradient(loss: Tensor) -> Tensor:
        return torch.cat([one.flatten() for one in torch.autograd.grad(loss, list(module.parameters()))])

    logit, place = module.next_logits(whole)
    expected = gradient(F.binary_cross_entropy_with_logits(logit, whole.correct[:, 1:].flatten()[place]))
    got = torch.zeros_like(expected)
    for batch in data.train_dataloader():
        assert isinstance(batch, InteractionBatch)
        share = len(batch) / len(examples.sizes)
        got += gradient(share * module.batch_weight(batch) * module.losses(batch)["answers"])
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_all_rows_in_one_batch_weigh_exactly_one() -> None:
    module = DKT(4)
    log = Interactions.from_lists([[(0, 1)] * size for size in (7, 3, 11)])
    module.training_size = 18, 3
    assert module.batch_weight(log.batch(torch.arange(3))) == 1.0
    assert module.batch_weight(log.batch(torch.tensor([1]))) == pytest.approx(2 / 6)


def test_batches_of_other_loaders_weigh_one() -> None:
    module = DKT(4)
    batch = Interactions.from_lists([[(0, 1)] * 9, [(1, 0)] * 2]).batch(torch.arange(2))
    assert module.batch_weight(batch) == 1.0
