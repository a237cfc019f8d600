"""Metrics that gather over batches and processes."""

from __future__ import annotations

from lpr_lightning.metrics.answer_metrics import AnswerMetrics, answer_selection
from lpr_lightning.metrics.hypervolume import FrontFigures, Hypervolume
from lpr_lightning.metrics.mastery_agreement import MasteryAgreement
from lpr_lightning.metrics.paired_difference import PairedDifference
from lpr_lightning.metrics.rollout_metrics import RolloutMetrics

__all__ = [
    "AnswerMetrics",
    "FrontFigures",
    "Hypervolume",
    "MasteryAgreement",
    "PairedDifference",
    "RolloutMetrics",
    "answer_selection",
]
