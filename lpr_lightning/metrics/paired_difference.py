"""How far one policy is over another on the same learners."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.metrics.row_metric import RowMetric


class PairedDifference(RowMetric):
    """Mean difference of two figures of the same rows, and its standard error.

    `compute` returns the mean and the error, the standard deviation (n - 1) of the differences over sqrt(n): what
    learners have in common drops out, so that it is far smaller than the errors of the two means. Without rows both
    are 0, with one row the error is NaN.

    >>> metric = PairedDifference()
    >>> metric.update(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]), torch.tensor([True, True]))
    >>> metric.compute()
    (tensor(2.), tensor(1.))
    """

    def __init__(self) -> None:
        super().__init__(columns=1)

    def update(self, first: Tensor, second: Tensor, counts: Tensor) -> None:
        """Add rows: two figures [B], and whether the row counts [B] bool."""
        self.store((first - second)[counts])

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the mean of first minus second, and its standard error."""
        difference = self.rows()[:, 0]
        if not len(difference):
            return difference.new_zeros(()), difference.new_zeros(())
        spread = (difference - difference.mean()).square().sum() / (len(difference) - 1 or torch.nan)
        return difference.mean(), (spread / len(difference)).sqrt()
