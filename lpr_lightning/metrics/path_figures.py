"""The figures of recommended paths, beside those of plain guesses, and of predicted answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from lpr_lightning.metrics.answer_metrics import AnswerMetrics
from lpr_lightning.metrics.path_label_metrics import PathLabelMetrics
from lpr_lightning.metrics.step_auc import StepAUC

GUESSES = ("copy_last", "bigram", "majority")


class PathFigures(nn.Module):
    """Counts one stage: `PathLabelMetrics` of the module's paths and of each plain guess, and how answers were met.

    Figures of a guess are called `<guess>/<figure>`, those of answers `tracing_<figure>`.

    Args:
        num_concepts: number of concepts.

    >>> import torch
    >>> figures, label = PathFigures(num_concepts=3), torch.tensor([[0, 1]])
    >>> figures.update({"": label, "copy_last": torch.zeros_like(label)}, label, torch.rand(1, 2), torch.ones(1, 2))
    >>> found = figures.compute(guesses=["copy_last"])
    >>> found["accuracy"], found["copy_last/accuracy"]
    (tensor(1.), tensor(0.5000))
    """

    def __init__(self, num_concepts: int) -> None:
        super().__init__()
        self.own = PathLabelMetrics(num_concepts)
        self.guesses = nn.ModuleDict({name: PathLabelMetrics(num_concepts) for name in GUESSES})
        self.answers, self.steps = AnswerMetrics(), StepAUC()

    def update(self, paths: Mapping[str, Tensor], label: Tensor, probability: Tensor, correct: Tensor) -> None:
        """Add a batch.

        Args:
            paths: the module's paths under "", those of guesses under their names, each [B, L].
            label: logged paths, [B, L].
            probability: predicted success at each logged step, [B, L].
            correct: answers, [B, L].
        """
        for name, path in paths.items():
            self._of(name).update(path, label)
        self.answers.update(probability, correct)
        self.steps.update(probability, correct)

    def compute(self, guesses: Sequence[str] = GUESSES, by_step: bool = False) -> dict[str, Tensor]:
        """Return all figures, those of `guesses` only; answers are told apart by step too where asked."""
        figures: dict[str, Tensor] = dict(self.own.compute())
        for name in guesses:
            figures |= {f"{name}/{key}": value for key, value in self._of(name).compute().items()}
        figures |= {f"tracing_{name}": value for name, value in self.answers.compute().items()}
        if by_step:
            figures |= {f"tracing_auc_{name}": value for name, value in self.steps.compute().items()}
        return figures

    def reset(self) -> None:
        """Forget everything."""
        for metric in (self.own, *(self._of(name) for name in GUESSES), self.answers, self.steps):
            metric.reset()

    def _of(self, name: str) -> PathLabelMetrics:
        metric = self.guesses[name] if name else self.own
        if not isinstance(metric, PathLabelMetrics):
            raise TypeError(type(metric).__name__)
        return metric
