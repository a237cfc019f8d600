"""The base of metrics that need every row of every process at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class RowMetric(Metric):
    """Stores rows of C numbers until `compute`, so that figures over several processes are exact.

    The rows are one flat state of the metric's own floating-point type. torchmetrics lets a process without rows gather
    an empty tensor of one axis and of that very type; a state of any other type or shape would make the gather fail on
    every process. Whole numbers below 2^24 are exact in float32.

    Args:
        columns: C, the numbers in a row.

    >>> class Last(RowMetric):
    ...     def update(self, value: Tensor) -> None:
    ...         self.store(value, value.square())
    ...
    ...     def compute(self) -> Tensor:
    ...         return self.rows()[-1]
    >>> metric = Last(columns=2)
    >>> metric.update(torch.tensor([2, 3]))
    >>> metric.compute()
    tensor([3., 9.])
    """

    full_state_update = False
    is_differentiable = False
    table: list[Tensor]

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns
        self.add_state("table", default=[], dist_reduce_fx="cat")

    def store(self, *column: Tensor) -> None:
        """Add rows, given as C columns of [R] each."""
        self.table.append(torch.stack([one.detach().to(self.dtype) for one in column], 1).flatten())

    def rows(self) -> Tensor:
        """Return all rows, [R, C]; R is 0 where nothing was stored."""
        if isinstance(self.table, list) and not self.table:
            return torch.zeros(0, self.columns, device=self.device, dtype=self.dtype)
        return dim_zero_cat(self.table).view(-1, self.columns)
