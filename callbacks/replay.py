"""Figures of paths as other learners, or other policies, would fare with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torchmetrics import MeanMetric

from lpr_lightning.callbacks.own_simulator import own_simulator
from lpr_lightning.errors import SettingError
from lpr_lightning.metrics.rollout_metrics import RolloutMetrics
from lpr_lightning.simulators.rollout import rollout as follow
from lpr_lightning.types import PathRequest, Rollout, Simulator

TRUE_FIGURES = ("learning_effect", "learning_effect_low", "learning_effect_high")


class Truth:
    """Learners of known truth that follow given paths; its figures begin with `true_`."""

    def __init__(self, simulator: Simulator, seed: int, device: torch.device) -> None:
        self._simulator = own_simulator(simulator, seed, device)
        self._metrics = RolloutMetrics().to(device)

    def update(self, request: PathRequest, path: Tensor, group_size: int = 1) -> None:
        """Let the true learners follow `path` [B * K, L]."""
        self._metrics.update(follow(self._simulator, request, path, group_size))

    def compute(self) -> dict[str, Tensor]:
        """Return `true_learning_effect` and its interval over all ranks; every rank must call it."""
        figures = self._metrics.compute()
        return {f"true_{name}": figures[name] for name in TRUE_FIGURES}


class Tally:
    """Figures of one policy's roll-outs: `RolloutMetrics`, and the means of some of the module's objectives."""

    def __init__(self, objectives: Sequence[str], device: torch.device) -> None:
        self._metrics = RolloutMetrics().to(device)
        self._means = {name: MeanMetric().to(device) for name in objectives}

    def update(self, rollout: Rollout, pl_module: LightningModule) -> None:
        """Add one batch."""
        self._metrics.update(rollout)
        for name, objective in named_objectives(pl_module).items():
            if name in self._means:
                self._means[name].update(objective(rollout))

    def compute(self) -> dict[str, Tensor]:
        """Return the figures over all ranks; every rank must call it."""
        return {**self._metrics.compute(), **{name: mean.compute() for name, mean in self._means.items()}}


def named_objectives(pl_module: LightningModule) -> dict[str, Any]:
    """Return the module's objectives by name; nothing where it has none."""
    objectives = getattr(pl_module, "objectives", ())
    return {one.name: one for one in objectives if hasattr(one, "name")} if isinstance(objectives, Iterable) else {}


def truth_of(trainer: Trainer) -> Simulator | None:
    """Return `trainer.datamodule.truth` where the learners are of known truth."""
    truth = getattr(getattr(trainer, "datamodule", None), "truth", None)
    return truth if isinstance(truth, Simulator) else None


def needed_request(request: PathRequest | None, callback: str) -> PathRequest:
    """Return the request, or raise where the step gave none."""
    if not isinstance(request, PathRequest):
        raise SettingError(
            'outputs["request"]',
            type(request).__name__,
            "a lpr_lightning.types.PathRequest",
            f'Return it from the step beside "rollout", or leave {callback} out',
        )
    return request
