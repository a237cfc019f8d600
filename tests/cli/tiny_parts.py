"""A model with nested parts, a tracer, and data with sizes: the least that the command line can be tried on."""

from __future__ import annotations

import importlib
import os
import signal
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ExponentialLR
from torch.utils.data import DataLoader, TensorDataset

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments, built, load_module
from lpr_lightning.protocols import LearnerData


class Part(HyperparametersMixin, nn.Module):
    """A nested module that must know the number of concepts."""

    def __init__(self, num_concepts: int | None = None, scale: float = 1.0, label: str = "") -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        if num_concepts is None:
            raise SettingError("num_concepts", None, "a number")
        if scale < 0:
            raise SettingError("scale", scale, "a number of 0 or more")
        self.num_concepts, self.scale = num_concepts, scale
        self.data: LearnerData | None = None

    def connect(self, data: LearnerData) -> None:
        self.data = data


class Learner(HyperparametersMixin, nn.Module):
    """A frozen tracer, like a simulator."""

    def __init__(self, tracer: nn.Module | str) -> None:
        super().__init__()
        tracer = load_module(tracer) if isinstance(tracer, str) else built(tracer, nn.Module) or nn.Identity()
        self.save_hyperparameters(arguments(locals()), logger=False)
        self.tracer = tracer.requires_grad_(False)


class OwnTracer(nn.Module):
    """A tracer that records no arguments."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.rand(1))


class Linear(LightningModule):
    """A linear layer that is trained to give zeros; `stop_at` is the step at which its first process is interrupted."""

    monitor = ("val/loss", "min")
    stop_at = -1

    def __init__(self, num_concepts: int | None, lr: float, gamma: float) -> None:
        super().__init__()
        self.num_concepts, self.lr, self.gamma = num_concepts, lr, gamma
        self.net = nn.Linear(num_concepts or 0, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        if self.global_step == self.stop_at and self.global_rank == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return self._step(batch, "train")

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._step(batch, "val")

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._step(batch, "test")

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.forward(batch[0])

    def forward(self, rows: Tensor) -> Tensor:
        result: Tensor = self.net(rows)
        return result

    def configure_optimizers(self) -> tuple[list[Optimizer], list[ExponentialLR]]:
        optimizer = SGD(self.net.parameters(), self.lr)
        return [optimizer], [ExponentialLR(optimizer, self.gamma)]

    def _step(self, batch: list[Tensor], stage: str) -> Tensor:
        loss = self.forward(batch[0]).square().mean()
        self.log(f"{stage}/loss", loss, on_epoch=True, sync_dist=True)
        return loss


class TinyModel(Linear):
    """A model with nested parts."""

    def __init__(
        self,
        part: nn.Module,
        num_concepts: int | None = None,
        lr: float = 0.1,
        gamma: float = 1.0,
        stop_at: int = -1,
        learner: nn.Module | None = None,
        missing: str | None = None,
    ) -> None:
        super().__init__(num_concepts, lr, gamma)
        if missing is not None:
            importlib.import_module(missing)
        self.save_hyperparameters(arguments(locals()))
        self.part, self.learner = built(part, nn.Module), built(learner, nn.Module)
        self.stop_at = stop_at


class TinyTracer(Linear):
    """A model that can be fitted first; counts its fits."""

    fits = 0

    def __init__(self, num_concepts: int | None = None, lr: float = 0.1, gamma: float = 1.0) -> None:
        super().__init__(num_concepts, lr, gamma)
        self.save_hyperparameters(arguments(locals()))

    def on_fit_start(self) -> None:
        type(self).fits += 1


class UnrecordedModel(Linear):
    """A model that records no arguments."""

    def __init__(self, num_concepts: int | None = None) -> None:
        super().__init__(num_concepts, 0.1, 1.0)


class TinyData(LightningDataModule, LearnerData):
    """Four batches of numbers."""

    made = 0

    def __init__(self, num_concepts: int = 4, batch_size: int = 4, task: str = "numbers") -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        self.num_concepts, self.batch_size = num_concepts, batch_size
        type(self).made += 1

    @property
    def fingerprint(self) -> str:
        return f"tiny {self.num_concepts}"

    def _loader(self) -> DataLoader[tuple[Tensor, ...]]:
        rows = torch.arange(16 * self.num_concepts).float().view(16, -1) / 64
        return DataLoader(TensorDataset(rows), batch_size=self.batch_size)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = _loader


class ReadsNothing(Callback):
    """Reads a file that is not there."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Path("nowhere.csv").read_text(encoding="utf-8")
