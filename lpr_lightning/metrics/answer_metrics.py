"""How well answers are predicted."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error
from torchmetrics.utilities import dim_zero_cat

from lpr_lightning.errors import SettingError


class AnswerMetrics(Metric):
    """AUC, accuracy, calibration error and Brier score of predicted answers.

    `compute` returns scalars: `auc`, exact, never binned; `accuracy` at 0.5; `ece`, the mean gap between predicted and
    observed success over equal bins, weighted by their size; `brier`, the mean squared error. Every prediction is kept
    until `compute`, so figures over several processes are exact. With answers of one kind only, `auc` is 0.5; without
    any answer the others are 0.

    Args:
        bins: bins of the calibration error.

    Raises:
        SettingError: `bins` is below 1.

    >>> metric = AnswerMetrics()
    >>> metric.update(torch.tensor([0.9, 0.2, 0.5]), torch.tensor([1.0, 0.0, 0.0]), torch.tensor([True, True, False]))
    >>> {key: round(float(value), 3) for key, value in metric.compute().items()}
    {'auc': 1.0, 'accuracy': 1.0, 'ece': 0.15, 'brier': 0.025}
    """

    full_state_update = False
    is_differentiable = False
    probability: list[Tensor]
    target: list[Tensor]

    def __init__(self, bins: int = 15) -> None:
        super().__init__()
        if bins < 1:
            raise SettingError("bins", bins, "a whole number from 1 on")
        self.bins = bins
        self.add_state("probability", default=[], dist_reduce_fx="cat")
        self.add_state("target", default=[], dist_reduce_fx="cat")

    def update(self, probability: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add predictions.

        Args:
            probability: of success, any shape, in [0, 1].
            target: answers of the same shape, 1 is success (0.5 and above counts as 1).
            mask: True where there is an answer, same shape; None takes all.
        """
        keep = torch.ones_like(target, dtype=torch.bool) if mask is None else mask.bool()
        self.probability.append(probability.detach()[keep].float())
        self.target.append((target.detach()[keep] >= 0.5).float())

    def compute(self) -> dict[str, Tensor]:
        """Return all figures as scalars."""
        none = torch.zeros((), device=self.device)
        if (isinstance(self.probability, list) and not self.probability) or not len(dim_zero_cat(self.probability)):
            return {"auc": none + 0.5, "accuracy": none, "ece": none, "brier": none}
        probability, target = dim_zero_cat(self.probability), dim_zero_cat(self.target)
        answer = target.long()
        one_kind = bool((answer == answer[0]).all())
        return {
            "auc": none + 0.5 if one_kind else binary_auroc(probability, answer, thresholds=None),
            "accuracy": ((probability >= 0.5) == answer.bool()).float().mean(),
            "ece": binary_calibration_error(probability, answer, n_bins=self.bins, norm="l1"),
            "brier": (probability - target).square().mean(),
        }
