"""How well recommended paths, and baselines beside them, agree with the concepts that learners took up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.repeats import hard_repeats
from lpr_lightning.metrics.answer_metrics import AnswerMetrics
from lpr_lightning.types import PAD

BASELINES = ("copy_last", "bigram", "majority")
"""The baselines that stand beside every module's paths, see `functional.path_baselines`."""


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
        checked("num_concepts", num_concepts, 1)
        self.num_concepts = num_concepts
        for state in ("right", "recommended", "logged"):
            self.add_state(state, torch.zeros(num_concepts, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("repeats", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, path: Tensor, label: Tensor) -> None:
        """Add recommended paths and the logged ones, both [B, L] int64; steps whose label is -1 do not count."""
        real = label != PAD
        if bool((path[real] == PAD).any()):
            raise SettingError("path", PAD, "a concept wherever there is a label")
        given, wanted = path[real], label[real]
        self.right += torch.bincount(wanted[given == wanted], minlength=self.num_concepts)
        self.recommended += torch.bincount(given, minlength=self.num_concepts)
        self.logged += torch.bincount(wanted, minlength=self.num_concepts)
        counted = torch.where(real, path, PAD)
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


class PathFigures(nn.Module):
    """The figures of one stage: `PathLabelMetrics` of the module's paths and of each baseline, and `AnswerMetrics`.

    Figures of a baseline are called `<baseline>/<figure>`, those of answers `tracing_<figure>`.

    Args:
        num_concepts: number of concepts.

    >>> figures, label = PathFigures(num_concepts=3), torch.tensor([[0, 1]])
    >>> figures.update({"": label, "copy_last": torch.zeros_like(label)}, label, torch.rand(1, 2), torch.ones(1, 2))
    >>> found = figures.compute(baselines=["copy_last"])
    >>> found["accuracy"], found["copy_last/accuracy"]
    (tensor(1.), tensor(0.5000))
    """

    def __init__(self, num_concepts: int) -> None:
        super().__init__()
        self.counts = {name: PathLabelMetrics(num_concepts) for name in ("", *BASELINES)}
        self.registered = nn.ModuleList(self.counts.values())  # a plain dict does not move to a device
        self.answers = AnswerMetrics(by_step=True)

    def update(self, paths: Mapping[str, Tensor], label: Tensor, probability: Tensor, correct: Tensor) -> None:
        """Add a batch.

        Args:
            paths: the module's paths under "", those of baselines under their names, each [B, L].
            label: logged paths, [B, L].
            probability: predicted success at each logged step, [B, L].
            correct: answers, [B, L].
        """
        for name, path in paths.items():
            self.counts[name].update(path, label)
        self.answers.update(probability, correct)

    def compute(self, baselines: Sequence[str] = BASELINES, by_step: bool = False) -> dict[str, Tensor]:
        """Return all figures, of `baselines` alone beside the module's own; with the AUC of each step where asked."""
        figures: dict[str, Tensor] = {}
        for name in ("", *baselines):
            prefix = f"{name}/" if name else ""
            figures |= {prefix + key: value for key, value in self.counts[name].compute().items()}
        answers = self.answers.compute()
        return figures | {f"tracing_{key}": value for key, value in answers.items() if by_step or "step" not in key}

    def reset(self) -> None:
        """Forget everything."""
        for metric in (*self.counts.values(), self.answers):
            metric.reset()
