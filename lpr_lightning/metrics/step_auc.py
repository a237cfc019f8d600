"""How far ahead answers can be foreseen."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat


class StepAUC(Metric):
    """Exact AUC of predicted answers at each step of a path: `step_1` for the answer right after the history, and on.

    Every prediction is kept until `compute`, so figures over several processes are exact. A step with answers of one
    kind only has 0.5.

    >>> metric = StepAUC()
    >>> metric.update(torch.tensor([[0.9, 0.2], [0.1, 0.7]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    >>> metric.compute()
    {'step_1': tensor(1.), 'step_2': tensor(0.)}
    """

    full_state_update = False
    is_differentiable = False
    probability: list[Tensor]
    target: list[Tensor]
    step: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for state in ("probability", "target", "step"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, probability: Tensor, target: Tensor) -> None:
        """Add predictions and answers, both [B, L]."""
        self.probability.append(probability.detach().float().flatten())
        self.target.append((target.detach() >= 0.5).long().flatten())
        self.step.append(torch.arange(target.shape[1], device=target.device).expand_as(target).flatten())

    def compute(self) -> dict[str, Tensor]:
        """Return one scalar for each step that has answers."""
        if isinstance(self.step, list) and not self.step:
            return {}
        probability, target, step = (dim_zero_cat(kept) for kept in (self.probability, self.target, self.step))
        figures = {}
        for number in range(int(step.max()) + 1 if len(step) else 0):
            here = step == number
            answers = target[here].long()
            one_kind = bool((answers == answers[:1]).all())
            figures[f"step_{number + 1}"] = (
                torch.tensor(0.5, device=self.device)
                if one_kind
                else binary_auroc(probability[here], answers, thresholds=None)
            )
        return figures
