"""The volume that a front of paths covers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.pareto import hypervolume


class Hypervolume(Metric):
    """Exact hypervolume of all points seen, larger is better in every objective.

    Args:
        reference: a point that is worse than all that counts, one value for each objective.

    Raises:
        SettingError: an empty reference, or points with another number of objectives.

    >>> metric = Hypervolume([0.0, 0.0])
    >>> metric.update(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    >>> metric.compute()
    tensor(3.)
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    points: list[Tensor]

    def __init__(self, reference: Sequence[float]) -> None:
        super().__init__()
        if not reference:
            raise SettingError("reference", reference, "one value for each objective")
        self.reference = [float(value) for value in reference]
        self.add_state("points", default=[], dist_reduce_fx="cat")

    def update(self, points: Tensor) -> None:
        """Add points, [B, M]."""
        if points.ndim != 2 or points.shape[1] != len(self.reference):
            raise SettingError("points", tuple(points.shape), f"a shape of [B, {len(self.reference)}]")
        self.points.append(points.detach().float().flatten())

    def compute(self) -> Tensor:
        """Return the volume above the reference, a scalar; 0 without points."""
        points = self.points
        if isinstance(points, list) and not points:
            return torch.zeros((), device=self.device)
        return hypervolume(dim_zero_cat(points).view(-1, len(self.reference)), self.reference)
