"""The ends of evaluation batches, whichever loop they belong to."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer

Loop = Literal["val", "test", "predict"]


class EndedBatch(NamedTuple):
    """A batch that a step is through with: the loop, what the step returned, the batch and its place."""

    loop: Loop
    outputs: Any
    batch: Any
    number: int
    loader: int


class BatchEnds(Callback):
    """Hands every batch of validation, test and prediction to one method, after the other base classes had it."""

    def batch_ended(self, trainer: Trainer, pl_module: LightningModule, ended: EndedBatch) -> None:
        """Look at one batch."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand over a validation batch."""
        super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self.batch_ended(trainer, pl_module, EndedBatch("val", outputs, batch, batch_idx, dataloader_idx))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand over a test batch."""
        super().on_test_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self.batch_ended(trainer, pl_module, EndedBatch("test", outputs, batch, batch_idx, dataloader_idx))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand over a batch of predictions."""
        super().on_predict_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self.batch_ended(trainer, pl_module, EndedBatch("predict", outputs, batch, batch_idx, dataloader_idx))
