"""`check_method` passes a method that keeps the rules and names the rule that a broken one breaks."""

from __future__ import annotations

import itertools

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lpr_lightning import DKT, InteractionBatch, SyntheticLearners, check_method
from lpr_lightning.checks import BrokenRule

CONCEPTS = 6


class Rates(LightningModule):
    """How often each concept is answered right."""

    def __init__(self, num_concepts: int = CONCEPTS) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.logit = nn.Parameter(torch.zeros(num_concepts))
        self.prior = nn.Parameter(torch.zeros(num_concepts), requires_grad=False)

    def loss(self, batch: InteractionBatch) -> Tensor:
        asked = (self.logit + self.prior)[batch.concept[..., 0][batch.mask].long()]
        return binary_cross_entropy_with_logits(asked, batch.correct[batch.mask])

    def training_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor | None:
        loss = self.loss(batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, Tensor]:
        loss = self.loss(batch)
        self.log("val/loss", loss, batch_size=len(batch))
        return {"loss": loss}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([weight for weight in self.parameters() if weight.requires_grad], 0.1)


class Forgets(Rates):
    """Has a layer that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(2, 2)


class Leaks(Rates):
    """Changes a frozen weight."""

    def training_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor | None:
        self.prior.data.add_(0.1)
        return super().training_step(batch, batch_idx)


class Unseeded(Rates):
    """Starts from other weights at every fit."""

    count = itertools.count(1)

    def on_fit_start(self) -> None:
        self.logit.data.fill_(1.0 / next(self.count))


class StepsTwice(Rates):
    """Takes two optimizer steps on a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor | None:
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        for _ in range(2):
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()
        return None


class CountsOutside(Rates):
    """Goes by a count that no checkpoint holds."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def training_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor | None:
        self.batches += 1
        loss = super().training_step(batch, batch_idx)
        return None if loss is None else loss * self.batches


class CannotBeRebuilt(Rates):
    """Has an argument that is not recorded."""

    def __init__(self, num_concepts: int) -> None:
        super().__init__(num_concepts)
        self.hparams.clear()
        self._set_hparams({})


class SavesCode(Rates):
    """Puts an object into its checkpoint, which only pickle can read."""

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        checkpoint["batch"] = InteractionBatch


class ReadsOutside(Rates):
    """Predicts by what it met in training, kept in no buffer."""

    bonus = 0.0

    def loss(self, batch: InteractionBatch) -> Tensor:
        return super().loss(batch) + self.bonus

    def on_train_end(self) -> None:
        self.bonus = 1.0


class NamesAtWill(Rates):
    """Logs a figure that is of no stage."""

    def training_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor | None:
        self.log("my_loss", 0.0)
        return super().training_step(batch, batch_idx)


class LogsNothing(Rates):
    """Keeps its loss to itself."""

    def training_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor | None:
        return self.loss(batch)


@pytest.fixture(scope="module")
def data() -> SyntheticLearners:
    """Learners who answered 20 to 30 times."""
    return SyntheticLearners(num_concepts=CONCEPTS, num_learners=60, answers=(20, 30), batch_size=8)


@pytest.mark.parametrize("module", [Rates(), DKT(CONCEPTS, 4, 4, dropout=0.0)], ids=lambda one: type(one).__name__)
def test_good_methods_pass(module: LightningModule, data: SyntheticLearners) -> None:
    before = {name: weight.clone() for name, weight in module.named_parameters()}
    check_method(module, data)
    assert all(torch.equal(weight, before[name]) for name, weight in module.named_parameters())


@pytest.mark.parametrize(
    ("module", "rule"),
    [
        (Forgets(), "weights"),
        (Leaks(), "weights"),
        (Unseeded(), "seeds"),
        (StepsTwice(), "global step"),
        (CountsOutside(), "resume"),
        (DKT(CONCEPTS, 4, 4, dropout=0.5), "resume"),
        (CannotBeRebuilt(CONCEPTS), "checkpoint"),
        (SavesCode(), "checkpoint"),
        (ReadsOutside(), "checkpoint"),
        (NamesAtWill(), "logged names"),
        (LogsNothing(), "logged names"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, LightningModule) else "",
)
def test_broken_methods_are_named(module: LightningModule, rule: str, data: SyntheticLearners) -> None:
    with pytest.raises(BrokenRule) as caught:
        check_method(module, data)
    assert caught.value.rule == rule
    assert "To mend it: " in str(caught.value)
