"""The figures of policies beside one another: in the simulator, and in truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torchmetrics import MeanMetric

from lpr_lightning.callbacks.module_parts import objectives_of
from lpr_lightning.callbacks.true_effect import TrueFigures, marked
from lpr_lightning.functional.learning_effect import learning_effect, learning_effect_defined
from lpr_lightning.goals import Exam
from lpr_lightning.metrics import PairedDifference, RolloutMetrics
from lpr_lightning.protocols import Simulator
from lpr_lightning.types import Rollout


class Tally:
    """Figures of one policy in the simulator: `RolloutMetrics`, and means of some of the module's objectives."""

    def __init__(self, objectives: Sequence[str], device: torch.device) -> None:
        self._metrics = RolloutMetrics().to(device)
        self._means = {name: MeanMetric().to(device) for name in objectives}

    def update(self, taught: Rollout, pl_module: LightningModule) -> None:
        """Add one batch."""
        self._metrics.update(taught)
        objectives = objectives_of(pl_module)
        for name, mean in self._means.items():
            mean.update(objectives[name](taught))

    def compute(self) -> dict[str, Tensor]:
        """Return the figures over all ranks; every rank must call it. Those of `RolloutMetrics` come first."""
        figures: dict[str, Tensor] = {name: mean.compute() for name, mean in self._means.items()}
        return figures | self._metrics.compute()


class TruthTally:
    """What the module and others teach the true learners, row by row; "" is the module."""

    def __init__(self, learners: Simulator, exam: Exam, names: Sequence[str], device: torch.device) -> None:
        self.learners, self.exam = learners, exam
        self._own = (torch.empty(0), torch.empty(0))
        self._effect = MeanMetric().to(device)
        self._figures = {name: TrueFigures(exam, device) for name in names}
        self._over = {name: PairedDifference().to(device) for name in names}

    def own(self, taught: Rollout, requests: int) -> None:
        """Add what the module taught in a batch; several paths of one request count by their mean."""
        effect, counts = self._effects(taught)
        self._effect.update(effect[counts])
        self._own = (effect.view(requests, -1).mean(1), counts.view(requests, -1).all(1))

    def other(self, name: str, taught: Rollout) -> None:
        """Add what another policy taught in the same batch."""
        self._figures[name].update(taught)
        effect, counts = self._effects(taught)
        self._over[name].update(self._own[0], effect, self._own[1] & counts)

    def compute(self, oracle: str) -> dict[str, dict[str, Tensor]]:
        """Return the figures of each over all ranks; every rank must call it."""
        found = {name: figures.compute() for name, figures in self._figures.items()}
        best = found[oracle]["true_learning_effect"]
        share = {name: figures["true_learning_effect"] / best for name, figures in found.items()}
        for name, over in self._over.items():
            found[name] |= dict(zip(("true_over", "true_over_error"), over.compute()))
            found[name]["true_share_of_oracle"] = share[name]
        return found | {"": {"true_share_of_oracle": self._effect.compute() / best}}

    def _effects(self, taught: Rollout) -> tuple[Tensor, Tensor]:
        """Return the learning effect of each row, and whether there was something to learn."""
        scores = marked(taught, self.exam)
        effect = learning_effect(scores.score_before, scores.score_after, scores.score_max)
        return effect, learning_effect_defined(scores.score_before, scores.score_max)
