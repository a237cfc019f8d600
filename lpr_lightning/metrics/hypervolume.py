"""How good a set of points is: the volume that its front dominates, and what else is said of fronts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.pareto import hypervolume, igd_plus, non_dominated
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


class FrontFigures(RowMetric):
    """Figures of the set of all points of all batches and processes, larger is better in every objective.

    `hypervolume` above the fixed reference (see `Hypervolume`); `non_dominated`, the share of points that no other
    dominates; `igd_plus`, how far the set is from dominating the ideal (`igd_plus` of the function), lower is better.

    Args:
        reference: the worst that counts, one value for each of the M objectives.
        ideal: the best there can be, M values.

    Raises:
        SettingError: references of different sizes, or points with another number of objectives.

    >>> metric = FrontFigures([0.0, 0.0], [1.0, 2.0])
    >>> metric.update(torch.tensor([[1.0, 1.0], [0.5, 2.0], [0.5, 1.0], [0.0, 0.0]]))
    >>> {name: round(float(value), 3) for name, value in metric.compute().items()}
    {'hypervolume': 1.5, 'non_dominated': 0.5, 'igd_plus': 0.5}
    """

    def __init__(self, reference: Sequence[float], ideal: Sequence[float]) -> None:
        super().__init__(columns=len(reference))
        if not reference or len(ideal) != len(reference):
            raise SettingError("ideal", ideal, f"{len(reference)} values, one for each objective")
        self.reference, self.ideal = [float(value) for value in reference], [float(value) for value in ideal]

    def update(self, points: Tensor) -> None:
        """Add points, [R, M]."""
        if points.ndim != 2 or points.shape[1] != self.columns:
            raise SettingError("points", tuple(points.shape), f"a shape of [R, {self.columns}]")
        self.store(*points.unbind(1))

    def compute(self) -> dict[str, Tensor]:
        """Return the figures, scalars by name; share and distance are NaN without points."""
        rows = self.rows()
        known = len(rows) > 0 and not bool(rows.isnan().any())
        share = non_dominated(rows).float().mean() if known else torch.tensor(torch.nan, device=rows.device)
        return {
            "hypervolume": hypervolume(rows, self.reference),
            "non_dominated": share,
            "igd_plus": igd_plus(rows, torch.tensor([self.ideal], device=rows.device)),
        }
