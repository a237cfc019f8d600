"""Early stopping that puts the best weights back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.progress import Progress, TaskID
from torch import Tensor
from torchmetrics import Metric


class KeepBest(Callback):
    """Stops after `patience` epochs without improvement of a validation figure, and restores the best weights.

    Args:
        monitor: Name of the figure.
        mode: `max` or `min`.
        patience: Epochs to wait.
        progress: Where to show the epochs, with the task to advance.
    """

    def __init__(self, monitor: str, mode: str, patience: int, progress: tuple[Progress, TaskID] | None) -> None:
        self.monitor, self.mode, self.patience, self.progress = monitor, mode, patience, progress
        self.best: float | None = None
        self._weights: dict[str, Tensor] = {}
        self._waited = 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the epoch with the best one so far."""
        if trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[self.monitor])
        if self.best is None or (value > self.best if self.mode == "max" else value < self.best):
            self.best, self._waited = value, 0
            self._weights = {name: weight.detach().clone() for name, weight in pl_module.state_dict().items()}
        else:
            self._waited += 1
            trainer.should_stop = self._waited >= self.patience
        if self.progress is not None:
            progress, task = self.progress
            progress.update(task, advance=1, description=f"training the simulator ({self.monitor} {self.best:.4f})")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the best weights back."""
        if self._weights:
            pl_module.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """Nothing is saved: this training is repeated or cached as a whole."""
        return {}


@contextmanager
def without_sync(module: torch.nn.Module) -> Iterator[None]:
    """Keep the metrics of `module` from waiting for other processes, which do not take part."""
    metrics: list[Any] = [part for part in module.modules() if isinstance(part, Metric)]
    kept = [metric.distributed_available_fn for metric in metrics]
    for metric in metrics:
        metric.distributed_available_fn = _alone
    try:
        yield
    finally:
        for metric, available in zip(metrics, kept):
            metric.distributed_available_fn = available


def _alone() -> bool:
    return False
