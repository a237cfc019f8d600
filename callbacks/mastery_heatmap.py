"""A picture of what a few learners master, answer by answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lpr_lightning.callbacks.chosen_learners import ChosenLearners, concept_names, short_name_of, title
from lpr_lightning.callbacks.evaluation import HistoryCallback, Stage
from lpr_lightning.callbacks.module_parts import mastery_over_time, tracer_of
from lpr_lightning.callbacks.pictures import INK, add_figure, new_figure, picture_file
from lpr_lightning.errors import checked
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import InteractionBatch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

NAME_WIDTH = 30


@dataclass(frozen=True)
class Panel:
    """What is drawn of one learner.

    `mastery` [R, T + 1], before any answer and after each; `right` and `wrong` the (step from 1, row) of answers on
    the R concepts; `others` the (step, whether right) of answers on none of them.
    """

    title: str
    names: list[str]
    mastery: Tensor
    right: list[tuple[int, int]]
    wrong: list[tuple[int, int]]
    others: list[tuple[int, bool]]


class MasteryHeatmap(HistoryCallback):
    """Draws the mastery of a few learners over their answers, one panel each.

    Rows are the concepts that the learner met most, in the order of their first answers; the first column is the
    mastery before any answer, then comes one column for each answer, coloured by the mastery after it. A dot marks a
    right answer, a cross a wrong one, in the row of the concept answered; answers on concepts that have no row stand
    on the line "other concepts". The tracer is the module itself or its `simulator.tracer` (`protocols.Tracer`)
    and observes each answer once. Histories are those of the batches. Goes to TensorBoard as `val/mastery` and
    `test/mastery`.

    Args:
        learners: number of learners. They are drawn by `seed` and stay the same at every epoch.
        concepts: most rows of a panel.
        answers: draw the first answers of a history only, at most that many.
        min_answers: learners with fewer answers are drawn only where there are not enough others.
        seed: of the choice of learners.
        stages: evaluation stages to look at.
        every_n_epochs: while fitting, draw only at every n-th epoch.
        png: write the newest picture to the run's folder too, as `val_mastery.png` and `test_mastery.png`.

    Raises:
        SettingError: an argument is out of its range, or (when a run starts) the module has no knowledge tracer.
    """

    def __init__(
        self,
        learners: int = 3,
        concepts: int = 8,
        answers: int = 60,
        min_answers: int = 20,
        seed: int = 0,
        stages: Sequence[Stage] = ("val", "test"),
        every_n_epochs: int = 1,
        png: bool = False,
    ) -> None:
        super().__init__(stages, every_n_epochs)
        self.learners = checked("learners", learners, 1)
        self.concepts = checked("concepts", concepts, 1)
        self.answers = checked("answers", answers, 1)
        self.min_answers = checked("min_answers", min_answers, 1)
        self.seed, self.png = seed, png
        self._chosen = self._choice()
        self._histories: list[InteractionBatch] = []
        self._file: Path | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module has what is needed."""
        if stage != "predict":
            tracer_of(pl_module, type(self).__name__)

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the last evaluation's learners."""
        self._chosen = self._choice()

    def take(self, trainer: Trainer, pl_module: LightningModule, stage: str, history: InteractionBatch) -> None:
        """Let the learners of a batch be chosen."""
        self._chosen.take(history)

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose among the learners of all ranks."""
        self._histories, self._chosen = self._chosen.across_ranks(), self._choice()
        self._file = picture_file(trainer, f"{stage}/mastery", self.png)

    def show(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Follow the chosen learners, and draw."""
        tracer, names = tracer_of(pl_module, type(self).__name__), concept_names(trainer)
        with torch.no_grad():
            histories = [history.to(pl_module.device) for history in self._histories]
            panels = [panel_of(tracer, history, names, self.concepts) for history in histories]
        if panels:
            add_figure(trainer, f"{stage}/mastery", draw(panels), self._file)
        self._histories = []

    def _choice(self) -> ChosenLearners:
        return ChosenLearners(self.learners, self.answers, self.min_answers, self.seed)


def panel_of(tracer: Tracer, history: InteractionBatch, names: Sequence[str], most: int) -> Panel:
    """Return what is drawn of a history of one row; at most `most` concepts, those met most."""
    met = [[one for one in answer if one >= 0] for answer in history.concept[0].tolist()]
    right = [answer >= 0.5 for answer in history.correct[0].tolist()]
    count: dict[int, int] = {}
    for one in (one for answer in met for one in answer):
        count[one] = count.get(one, 0) + 1
    most_met = set(sorted(count, key=lambda one: -count[one])[:most])
    rows = {concept: row for row, concept in enumerate(one for one in count if one in most_met)}
    marks = [(step, rows[one]) for step, answer in enumerate(met, 1) for one in answer if one in rows]
    mastery = mastery_over_time(tracer, history)[0][:, list(rows)]
    return Panel(
        title=title(int(history.learner[0])),
        names=[f"{short_name_of(one, names, NAME_WIDTH)} ({count[one]})" for one in rows],
        mastery=mastery.T.cpu(),
        right=[(step, row) for step, row in marks if right[step - 1]],
        wrong=[(step, row) for step, row in marks if not right[step - 1]],
        others=[(step, right[step - 1]) for step, answer in enumerate(met, 1) if not rows.keys() & answer],
    )


def draw(panels: Sequence[Panel]) -> Figure:
    """Return the picture of the panels, one below the other."""
    steps = max(panel.mastery.shape[1] for panel in panels)
    rows = [len(panel.names) + bool(panel.others) + 0.4 for panel in panels]
    width = 4.2 + 0.16 * min(max(steps, 20), 100)
    figure, axes = new_figure(width, 0.27 * sum(rows) + 0.45 * len(panels) + 0.7, rows=len(panels), heights=rows)
    images = [_panel(axis, panel, steps) for axis, panel in zip(axes, panels)]
    axes[-1].set_xlabel("answer (0: before the first)", color=INK)
    bar = figure.colorbar(images[0], ax=axes, fraction=0.03, pad=0.015, aspect=30)
    bar.set_label("mastery", color=INK)
    bar.outline.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, fontsize=9, frameon=False)
    return figure


def _panel(axis: Axes, panel: Panel, steps: int) -> AxesImage:
    from matplotlib.ticker import MaxNLocator

    last = len(panel.names)
    image = axis.imshow(
        panel.mastery.tolist(), cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest", zorder=1
    )
    answers = {
        "answered right": ("o", panel.right + [(step, last) for step, right in panel.others if right]),
        "answered wrong": ("X", panel.wrong + [(step, last) for step, right in panel.others if not right]),
    }
    for (label, (marker, places)), face in zip(answers.items(), ("white", "#e8590c")):
        x, y = [step for step, _ in places], [row for _, row in places]
        axis.scatter(x, y, s=26, marker=marker, color=face, edgecolors="black", linewidths=0.6, zorder=3, label=label)
    axis.set_yticks(range(last), panel.names)
    axis.set_xlim(-0.5, steps - 0.5)
    axis.set_ylim(last - 0.5, -0.5)
    if panel.others:
        axis.set_yticks(range(last + 1), [*panel.names, "other concepts"])
        axis.get_yticklabels()[-1].set_fontstyle("italic")
        axis.set_ylim(last + 0.5, -0.5)
    axis.grid(visible=False)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    axis.set_title(panel.title, fontsize=10, color=INK, loc="left")
    return image
