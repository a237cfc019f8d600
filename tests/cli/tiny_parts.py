"""A model with a nested part, and data with sizes: the least that the command line can be tried on."""

from __future__ import annotations

import os
import signal
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments, built


class Part(HyperparametersMixin, nn.Module):
    """A nested module that must know the number of concepts."""

    def __init__(self, num_concepts: int | None = None, scale: float = 1.0) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        if num_concepts is None:
            raise SettingError("num_concepts", None, "a number")
        if scale < 0:
            raise SettingError("scale", scale, "a number of 0 or more")
        self.num_concepts, self.scale = num_concepts, scale
        self.data: LightningDataModule | None = None

    def connect(self, data: LightningDataModule) -> None:
        self.data = data


class TinyModel(LightningModule):
    """A linear layer; interrupts its first process at step `stop_at`."""

    monitor = ("val/loss", "min")

    def __init__(
        self, part: nn.Module, num_concepts: int | None = None, lr: float = 0.1, gamma: float = 1.0, stop_at: int = -1
    ) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()))
        self.part = built(part)
        self.num_concepts, self.lr, self.gamma, self.stop_at = num_concepts, lr, gamma, stop_at
        self.net = nn.Linear(num_concepts or 0, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        if self.global_step == self.stop_at and self.global_rank == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return self._step(batch, "train")

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._step(batch, "val")

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._step(batch, "test")

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        return self.net(batch[0])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), self.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, self.gamma)]

    def _step(self, batch: list[Tensor], stage: str) -> Tensor:
        loss: Tensor = self.net(batch[0]).square().mean()
        self.log(f"{stage}/loss", loss, on_epoch=True, sync_dist=True)
        return loss


class TinyData(LightningDataModule):
    """Four batches of numbers."""

    made = 0

    def __init__(self, num_concepts: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        self.num_concepts = num_concepts
        type(self).made += 1

    def _batches(self) -> DataLoader[tuple[Tensor, ...]]:
        rows = torch.arange(16 * self.num_concepts).float().view(16, -1) / 64
        return DataLoader(TensorDataset(rows), batch_size=4)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = _batches
