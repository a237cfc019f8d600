"""What tracers that tell evidence from growth have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.bases.staged import datamodule_of
from lpr_lightning.bases.tracer import TracerModule
from lpr_lightning.errors import checked
from lpr_lightning.functional.zpd import concept_difficulty
from lpr_lightning.nets.growth_net import GrowthNet
from lpr_lightning.protocols import LearnerData
from lpr_lightning.ranks import mean_over_ranks
from lpr_lightning.types import InteractionBatch

SMOOTHING = 2.0
"""Answers that a concept's share of right ones is drawn towards that of all by."""


class GrowthTracer(TracerModule):
    """A knowledge tracer in whose episodes only growth moves; `net` is a `nets.growth_net.GrowthNet`.

    It takes the prerequisites from the data, where they have them and `gate` asks for them, and starts from the share
    of right answers on each concept. A subclass sets `net`, and an optimizer, as every `TracerModule` does.

    Args:
        num_concepts: number of concepts of the data.
        gate: let growth on a concept through only as far as its prerequisites hold.
        penalty: weight of the net's penalty in the loss.

    Raises:
        SettingError: a setting is out of range.
    """

    net: GrowthNet

    def __init__(self, num_concepts: int | None, gate: bool, penalty: float) -> None:
        super().__init__(num_concepts)
        self.gate, self.penalty = gate, checked("penalty", penalty, 0.0)

    @property
    def connected(self) -> bool:
        """Whether the prerequisites are known or not wanted."""
        return not self.gate or self.net.gate.known

    def connect(self, data: LearnerData) -> None:
        """Take the prerequisites from the data; without any there is no gate."""
        if self.gate:
            self.net.gate.attach(data.prerequisites)

    def setup(self, stage: str) -> None:
        """Connect to the trainer's data where nobody has."""
        super().setup(stage)
        if stage == "fit":
            self.net.gate.weight.requires_grad_(self.net.gate.active)

    def prepare(self) -> None:
        """Start from the share of right answers on each concept."""
        if isinstance(data := datamodule_of(self.trainer), LearnerData):
            log = data.interactions("train")
            rate = 1 - concept_difficulty(log, self.num_concepts, SMOOTHING)
            self.net.start_from(rate.clamp(0.02, 0.98).to(self.device))

    def losses(self, batch: InteractionBatch) -> dict[str, Tensor]:
        """Return the loss of next answers, and the penalty."""
        return super().losses(batch) | {"penalty": self.penalty * self.net.penalty()}


class SmoothGrowthTracer(GrowthTracer):
    """A `GrowthTracer` trained by L-BFGS with a line search: small and smooth, it takes tens of passes over the log.

    Give batches as large as memory holds, best all learners in one.

    Args:
        num_concepts: number of concepts of the data.
        gate: let growth on a concept through only as far as its prerequisites hold.
        penalty: weight of the net's penalty in the loss.
        iterations: of L-BFGS on each batch.

    Raises:
        SettingError: a setting is out of range.
    """

    def __init__(self, num_concepts: int | None, gate: bool, penalty: float, iterations: int) -> None:
        super().__init__(num_concepts, gate, penalty)
        self.iterations = checked("iterations", iterations, 1)

    def fit_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, of the same value on all ranks, or their line searches would part."""
        loss = super().fit_step(batch, batch_idx)
        return loss + (mean_over_ranks(loss) - loss).detach()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return L-BFGS."""
        trained = [weight for weight in self.parameters() if weight.requires_grad]
        return torch.optim.LBFGS(trained, max_iter=self.iterations, line_search_fn="strong_wolfe")
