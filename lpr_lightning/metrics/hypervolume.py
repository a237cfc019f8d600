"""The volume that the front of a set of points dominates."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.pareto import hypervolume
from lpr_lightning.metrics.row_metric import RowMetric


class Hypervolume(RowMetric):
    """Exact hypervolume of the set of all points of all batches and processes, larger is better in every objective.

    That is the volume of the region that at least one point dominates and that dominates the reference point: points
    are counted together, never one by one, so that equal and dominated points add nothing. In the units of the
    objectives multiplied with one another. NaN if a point holds a NaN.

    Args:
        reference: the corner that volume is measured from, one value for each of the M objectives, in their order and
            units: the worst value that counts. A point that is not above it in every objective adds nothing. Volumes
            compare only under the same reference.

    Raises:
        SettingError: an empty reference, or points with another number of objectives.

    >>> import torch
    >>> metric = Hypervolume([0.0, 0.0])
    >>> metric.update(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    >>> metric.compute()
    tensor(3.)
    """

    higher_is_better = True

    def __init__(self, reference: Sequence[float]) -> None:
        super().__init__(columns=len(reference))
        if not reference:
            raise SettingError("reference", reference, "one value for each objective")
        self.reference = [float(value) for value in reference]

    def update(self, points: Tensor) -> None:
        """Add points, [R, M]."""
        if points.ndim != 2 or points.shape[1] != self.columns:
            raise SettingError("points", tuple(points.shape), f"a shape of [R, {self.columns}]")
        self.store(*points.unbind(1))

    def compute(self) -> Tensor:
        """Return the volume above the reference, a scalar; 0 without points."""
        return hypervolume(self.rows(), self.reference)
