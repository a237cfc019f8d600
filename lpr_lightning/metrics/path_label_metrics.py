"""How well recommended paths agree with what learners took up."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.repeats import hard_repeats
from lpr_lightning.types import PAD


class PathLabelMetrics(Metric):
    """Accuracy, weighted precision, recall and F1 of path steps, and the share of steps that are repeats.

    `compute` returns scalars: `accuracy`, the share of steps with the logged concept at the same place; `precision`,
    `recall` and `f1` of each concept over all steps of all paths, weighted by how often it is logged (a concept that is
    never recommended has precision and F1 0; weighted recall is the accuracy, which is how arXiv 2507.05295 comes by
    the same number twice); `repeat_rate`, the share of recommended steps that repeat an earlier concept of their path,
    and `label_repeat_rate`, the same of the logged paths. Counts are whole numbers, so that figures over several
    processes are exact. Without steps all are 0.

    Args:
        num_concepts: number of concepts.

    Raises:
        SettingError: `num_concepts` is below 1.

    >>> metric = PathLabelMetrics(num_concepts=3)
    >>> metric.update(torch.tensor([[0, 1], [2, 2]]), torch.tensor([[0, 2], [2, 1]]))
    >>> {key: round(float(value), 3) for key, value in metric.compute().items()}
    {'accuracy': 0.5, 'precision': 0.5, 'recall': 0.5, 'f1': 0.5, 'repeat_rate': 0.25, 'label_repeat_rate': 0.0}
    """

    full_state_update = False
    is_differentiable = False
    right: Tensor
    recommended: Tensor
    logged: Tensor
    repeats: Tensor

    def __init__(self, num_concepts: int) -> None:
        super().__init__()
        if num_concepts < 1:
            raise SettingError("num_concepts", num_concepts, "a whole number from 1 on")
        self.num_concepts = num_concepts
        for state in ("right", "recommended", "logged"):
            self.add_state(state, torch.zeros(num_concepts, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("repeats", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, path: Tensor, label: Tensor) -> None:
        """Add recommended paths and the logged ones, both [B, L] int64; steps whose label is -1 do not count."""
        known = label != PAD
        if bool((path[known] == PAD).any()):
            raise SettingError("path", PAD, "a concept wherever there is a label")
        said, real = path[known], label[known]
        self.right += torch.bincount(real[said == real], minlength=self.num_concepts)
        self.recommended += torch.bincount(said, minlength=self.num_concepts)
        self.logged += torch.bincount(real, minlength=self.num_concepts)
        counted = torch.where(known, path, PAD)
        self.repeats += torch.stack([hard_repeats(counted).sum(), hard_repeats(label).sum()])

    def compute(self) -> dict[str, Tensor]:
        """Return all figures as scalars."""
        right, recommended, logged = (count.double() for count in (self.right, self.recommended, self.logged))
        steps = logged.sum().clamp_min(1)
        precision = right / recommended.clamp_min(1)
        recall = right / logged.clamp_min(1)
        f1 = 2 * right / (recommended + logged).clamp_min(1)
        own, of_labels = self.repeats.double() / steps
        figures = {
            "accuracy": right.sum() / steps,
            "precision": (precision * logged).sum() / steps,
            "recall": (recall * logged).sum() / steps,
            "f1": (f1 * logged).sum() / steps,
            "repeat_rate": own,
            "label_repeat_rate": of_labels,
        }
        return {name: value.float() for name, value in figures.items()}
