"""How well answers are predicted."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error

from lpr_lightning.errors import checked
from lpr_lightning.metrics.row_metric import RowMetric


class AnswerMetrics(RowMetric):
    """AUC, accuracy, calibration error and Brier score of predicted answers.

    `compute` returns scalars: `auc`, exact, never binned; `accuracy` at 0.5; `ece`, the mean gap between predicted and
    observed success over equal bins, weighted by their size; `brier`, the mean squared error. With answers of one class
    only, `auc` is undefined, NaN; without any answer the others are 0. All four are NaN if a prediction is not finite.
    With `by_step` there is also `auc_step_1` for the answers in the first column of each batch, and so on.

    Args:
        bins: bins of the calibration error.
        by_step: report the AUC of each column of [B, L] predictions too.

    Raises:
        SettingError: `bins` is below 1.

    >>> metric = AnswerMetrics()
    >>> metric.update(torch.tensor([0.9, 0.2, 0.5]), torch.tensor([1.0, 0.0, 0.0]), torch.tensor([True, True, False]))
    >>> {key: round(float(value), 3) for key, value in metric.compute().items()}
    {'auc': 1.0, 'accuracy': 1.0, 'ece': 0.15, 'brier': 0.025}
    """

    def __init__(self, bins: int = 15, by_step: bool = False) -> None:
        super().__init__(columns=3 if by_step else 2)
        checked("bins", bins, 1)
        self.bins, self.by_step = bins, by_step

    def update(self, probability: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add predictions.

        Args:
            probability: of success, any shape, in [0, 1]; the last axis counts the steps.
            target: answers of the same shape, 1 is success (0.5 and above counts as 1).
            mask: True where there is an answer, same shape; None takes all.
        """
        counted = torch.ones_like(target, dtype=torch.bool) if mask is None else mask.bool()
        columns = [probability[counted], target[counted] >= 0.5]
        if self.by_step:
            step = torch.arange(target.shape[-1], device=target.device)
            columns.append(step.expand_as(target)[counted])
        self.store(*columns)

    def compute(self) -> dict[str, Tensor]:
        """Return all figures as scalars."""
        probability, target, *step = self.rows().T.contiguous().unbind()
        figures = {"auc": exact_auc(probability, target), **self._errors(probability, target)}
        for number in range(int(step[0].max()) + 1 if step and len(step[0]) else 0):
            here = step[0] == number
            figures[f"auc_step_{number + 1}"] = exact_auc(probability[here], target[here])
        return figures

    def _errors(self, probability: Tensor, target: Tensor) -> dict[str, Tensor]:
        names = ("accuracy", "ece", "brier")
        if not len(probability):
            return dict.fromkeys(names, probability.new_zeros(()))
        if not bool(probability.isfinite().all()):
            return dict.fromkeys(names, probability.new_full((), torch.nan))
        return {
            "accuracy": ((probability >= 0.5) == target.bool()).float().mean(),
            "ece": binary_calibration_error(probability, target.long(), n_bins=self.bins, norm="l1"),
            "brier": (probability - target).square().mean(),
        }


def exact_auc(probability: Tensor, target: Tensor) -> Tensor:
    """Return the area under the ROC curve, a scalar: NaN with answers of one class, or a prediction that is not finite.

    Args:
        probability: of success, [R].
        target: answers, [R] of 0 and 1.

    >>> exact_auc(torch.tensor([0.9, 0.2, 0.9]), torch.tensor([1.0, 0.0, 0.0]))
    tensor(0.7500)
    """
    if not bool(probability.isfinite().all()) or bool((target == target[:1]).all()):
        return probability.new_full((), torch.nan)
    return binary_auroc(probability, target.long(), thresholds=None)


def answer_selection(figures: Mapping[str, Tensor]) -> Tensor:
    """Return what chooses among models by their answers: the AUC, or, where it is undefined, 1 less the Brier score.

    >>> answer_selection({"auc": torch.tensor(0.8), "brier": torch.tensor(0.2)})
    tensor(0.8000)
    >>> answer_selection({"auc": torch.tensor(torch.nan), "brier": torch.tensor(0.25)})
    tensor(0.7500)
    """
    return torch.where(figures["auc"].isnan(), 1 - figures["brier"], figures["auc"])
