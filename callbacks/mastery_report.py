"""How well a tracer's mastery foretells who will answer right."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule, Trainer

from lpr_lightning.callbacks.evaluation import HistoryCallback, Stage
from lpr_lightning.callbacks.module_parts import tracer_of
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.mastery_agreement import first_answers
from lpr_lightning.metrics.mastery_agreement import MasteryAgreement
from lpr_lightning.types import InteractionBatch


class MasteryReport(HistoryCallback):
    """Logs `val/mastery_agreement` and `test/mastery_agreement` of any knowledge tracer.

    The tracer (the module itself, or its `simulator.tracer`) reads the front of each history; its mastery there is
    set against the learner's first later answer to each concept met behind it (see
    `functional.mastery_agreement.mastery_agreement`). 0.5 is chance. Histories are those of the batches, each a
    learner of its own; those without a front are passed over.

    Args:
        front: share of a history that the tracer reads, rounded down, in (0, 1).
        stages: evaluation stages to look at.
        every_n_epochs: while fitting, look only at every n-th epoch.

    Raises:
        SettingError: an argument is out of its range, or (when a run starts) the module has no knowledge tracer.
    """

    def __init__(self, front: float = 0.5, stages: Sequence[Stage] = ("val", "test"), every_n_epochs: int = 1) -> None:
        super().__init__(stages, every_n_epochs)
        if not 0 < front < 1:
            raise SettingError("front", front, "a share between 0 and 1")
        self.front = front
        self._metric = MasteryAgreement()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module has what is needed."""
        if stage != "predict":
            tracer_of(pl_module, type(self).__name__)

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start from nothing."""
        self._metric = MasteryAgreement().to(pl_module.device)

    def take(self, trainer: Trainer, pl_module: LightningModule, stage: str, history: InteractionBatch) -> None:
        """Set the mastery after the fronts of a batch against the first answers behind them."""
        cut = (history.lengths * self.front).long()
        history = history.select(cut > 0)
        cut = cut[cut > 0]
        if len(history):
            tracer = tracer_of(pl_module, type(self).__name__)
            with torch.no_grad():
                mastery = tracer.mastery(tracer.encode(history.first(cut)))
            steps = torch.arange(history.mask.shape[1], device=cut.device)
            row, step, concept = first_answers(history.concept, history.mask & (steps >= cut[:, None]))
            self._metric.update(mastery[row, concept], history.correct[row, step], concept)

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the figure of all ranks."""
        pl_module.log(f"{stage}/mastery_agreement", self._metric.compute(), sync_dist=True)
        self._metric.reset()
