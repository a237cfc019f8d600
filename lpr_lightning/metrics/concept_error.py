"""How far mastery is from the mean success over a concept's questions."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class ConceptError(Metric):
    """Mean absolute error of mastery over (state, concept) pairs (ExRec, appendix C); 0 without any.

    >>> metric = ConceptError()
    >>> metric.update(torch.tensor([[0.5]]), torch.tensor([[0.4]]))
    >>> metric.update(torch.tensor([[0.5, 0.9]]), torch.tensor([[0.2, 0.9]]))
    >>> round(float(metric.compute()), 4)
    0.1333
    """

    full_state_update = False
    is_differentiable = False
    total: Tensor
    pairs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pairs", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, mastery: Tensor, target: Tensor) -> None:
        """Add learners' states.

        Args:
            mastery: predicted by the concept, [S, M].
            target: mean success over the concept's questions, [S, M].
        """
        difference = (mastery.detach() - target.detach()).abs()
        self.total += difference.sum(dtype=torch.float64)
        self.pairs += difference.numel()

    def compute(self) -> Tensor:
        """Return the mean as a scalar."""
        return (self.total / self.pairs.clamp_min(1)).float()
