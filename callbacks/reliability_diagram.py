"""A picture of how far predicted success can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lpr_lightning.callbacks.evaluation import AnswersCallback, Stage
from lpr_lightning.callbacks.pictures import BAND, INK, POLICY, add_figure, new_figure, picture_file
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.reliability import Binning, reliability
from lpr_lightning.ranks import gathered
from lpr_lightning.types import Answers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class ReliabilityDiagram(AnswersCallback):
    """Draws observed against predicted success over bins of the prediction, with the number of answers below.

    A tracer to be trusted lies on the diagonal. Each bin has its 95 % Wilson interval; expected calibration error
    (over these bins) and Brier score stand in the title. Steps return a dict with `"answers"` (`types.Answers`);
    the answers of all processes are counted, each once. Goes to TensorBoard as `val/reliability` and
    `test/reliability`.

    Args:
        bins: number of bins. The default gives the calibration error that our tracers log as `…/ece`.
        binning: bins of equal `width`, or of equal `count`, which show more where predictions crowd.
        stages: evaluation stages to look at.
        every_n_epochs: while fitting, draw only at every n-th epoch.
        png: write the newest picture to the run's folder too, as `val_reliability.png` and `test_reliability.png`.

    Raises:
        SettingError: an argument is out of its range.
    """

    def __init__(
        self,
        bins: int = 15,
        binning: Binning = "width",
        stages: Sequence[Stage] = ("val", "test"),
        every_n_epochs: int = 1,
        png: bool = False,
    ) -> None:
        super().__init__(stages, every_n_epochs)
        self.bins = checked("bins", bins, 1)
        if binning not in get_args(Binning):
            raise SettingError("binning", binning, " or ".join(get_args(Binning)))
        self.binning, self.png = binning, png
        self._probability: list[Tensor] = []
        self._correct: list[Tensor] = []
        self._rows = torch.empty(0, 2)
        self._file: Path | None = None

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the last evaluation's answers."""
        self._probability, self._correct = [], []

    def take(self, trainer: Trainer, pl_module: LightningModule, stage: str, answers: Answers) -> None:
        """Collect predictions and answers."""
        self._probability.append(answers.probability.detach().float())
        self._correct.append(answers.correct.detach().float())

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Gather the answers of all ranks."""
        none = torch.empty(0)
        own = [torch.cat(parts) if parts else none for parts in (self._probability, self._correct)]
        self._rows = gathered(torch.stack(own, 1), pl_module.device)
        self._probability, self._correct = [], []
        self._file = picture_file(trainer, f"{stage}/reliability", self.png)

    def show(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Draw."""
        if len(self._rows):
            figure = draw(self._rows[:, 0], self._rows[:, 1], self.bins, self.binning)
            add_figure(trainer, f"{stage}/reliability", figure, self._file)
        self._rows = torch.empty(0, 2)


def draw(probability: Tensor, correct: Tensor, bins: int = 15, binning: Binning = "width") -> Figure:
    """Return the picture of predictions [R] beside answers [R]."""
    result = reliability(probability, correct, bins, binning)
    figure, (axis, below) = new_figure(5.0, 6.0, rows=2, heights=(4.0, 1.0))
    axis.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="calibrated")
    x, y = result.predicted, result.observed
    axis.errorbar(
        x.tolist(),
        y.tolist(),
        yerr=torch.stack([y - result.low, result.high - y]).tolist(),
        color=POLICY,
        ecolor="#7d3a30",
        linewidth=1.4,
        elinewidth=1.2,
        marker="o",
        markersize=5,
        capsize=2.5,
        label="observed, 95 % interval",
    )
    axis.set_ylabel("observed success", color=INK)
    axis.set_ylim(-0.02, 1.02)
    axis.legend(
        loc="upper left",
        fontsize=9,
        frameon=False,
        title=f"{bins} bins of equal {binning}",
        title_fontsize=9,
        alignment="left",
    )
    title = f"{len(probability):,} answers, ECE {result.ece:.3f}, Brier {result.brier:.3f}"
    axis.set_title(title, fontsize=10, color=INK, loc="left")
    _counts(below, probability, bins)
    below.sharex(axis)
    axis.set_xlim(-0.02, 1.02)
    axis.tick_params(labelbottom=False)
    return figure


def _counts(axis: Axes, probability: Tensor, bins: int) -> None:
    """Draw how many predictions there are, over bins of equal width."""
    from matplotlib.ticker import MaxNLocator

    axis.hist(probability.tolist(), bins=bins, range=(0, 1), color=BAND, edgecolor="white", linewidth=0.8)
    axis.set_xlabel("predicted success", color=INK)
    axis.set_ylabel("answers", color=INK)
    axis.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
