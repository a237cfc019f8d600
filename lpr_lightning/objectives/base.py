"""What every objective has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn

from lpr_lightning.types import Interactions, Rollout


class Objective(HyperparametersMixin, nn.Module, ABC):
    """Scores the paths of a rollout; larger is better.

    Whatever is fitted lives in buffers, so that it travels with the checkpoint. A subclass begins its constructor with

        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
    """

    name: str
    """Under this name it is logged, scaled and weighted."""

    def configure(self, num_concepts: int) -> None:
        """Register the buffers whose size depends on the number of concepts; called once, before anything else."""

    def fit(self, log: Interactions) -> None:
        """Fit what depends on the answer logs of training learners."""

    def fit_paths(self, rollout: Rollout) -> None:
        """Fit what depends on paths that training learners followed."""

    @abstractmethod
    def forward(self, rollout: Rollout) -> Tensor:
        """Return one value for each path, [B]."""
