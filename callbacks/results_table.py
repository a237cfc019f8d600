"""The table at the end of a test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lpr_lightning.callbacks.evaluation import AnswersCallback, Stage
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.ranks import gathered
from lpr_lightning.types import Answers

if TYPE_CHECKING:
    from rich.table import Table

Figures = Mapping[str, float]

COLUMNS = {
    "learning effect": "learning_effect",
    "true effect": "true_learning_effect",
    "ZPD": "zpd",
    "length\nscore": "length_score",
    "path\ndiversity": "path_diversity",
    "path\nlength": "path_length",
    "AUC": "auc",
    "accuracy": "accuracy",
    "ECE": "ece",
    "Brier": "brier",
    "mastery\nagreement": "mastery_agreement",
}
"""Column title and the figure it shows; a column that no row has is left out."""


class ResultsTable(AnswersCallback):
    """Prints the test figures of the module and of all policies or baselines beside it, one row each.

    Reads `test/<figure>` for the module and `test/<name>/<figure>` for the others from `trainer.callback_metrics`,
    whoever logged them. A figure comes with its 95 % interval where `…_low` and `…_high` are logged. The headline says
    how many learners there were and, where the steps return `"answers"` (`types.Answers`), how many answers. Nothing
    is printed where no figure of any column was logged.

    Args:
        policy: name of the module's own row; by default `policy` where paths are judged, else the module's class.
        bound: name of the policy that is an upper bound: it comes last, and the headline says what share of it the
            module reaches. Null for none.
        width: columns of the table where the output is not a terminal.
        columns: figure by column title, in order; by default those of paths and of answers in `COLUMNS`.

    Raises:
        SettingError: `policy` or `columns` is empty or `width` is below 60.
    """

    def __init__(
        self,
        policy: str | None = None,
        bound: str | None = "search",
        width: int = 100,
        columns: dict[str, str] | None = None,
    ) -> None:
        super().__init__(stages=["test"])
        if policy == "":
            raise SettingError("policy", policy, "a name, or null")
        checked("width", width, 60)
        if columns is not None and not columns:
            raise SettingError("columns", columns, "at least one title with its figure, or null")
        self.policy, self.bound, self.width = policy, bound, width
        self.columns = COLUMNS if columns is None else dict(columns)
        self._learners: list[Tensor] = []
        self._counts: tuple[int, int] | None = None

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        """Forget the last test."""
        self._learners, self._counts = [], None

    def take(self, trainer: Trainer, pl_module: LightningModule, stage: Stage, answers: Answers) -> None:
        """Note whose answers were predicted."""
        self._learners.append(answers.learner)

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        """Count answers and learners of all ranks."""
        own = torch.cat(self._learners) if self._learners else torch.empty(0, dtype=torch.int64)
        everyone, self._learners = gathered(own, pl_module.device), []
        self._counts = (len(everyone), len(set(everyone.tolist())))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print, on rank zero."""
        if not trainer.is_global_zero:
            return
        logged = trainer.callback_metrics
        policy = self.policy or ("policy" if "test/learning_effect" in logged else type(pl_module).__name__)
        rows = rows_of(logged, policy, self.bound)
        if any(key in figures for key in self.columns.values() for figures in rows.values()):
            from rich.console import Console

            console = Console()
            if not console.is_terminal:
                console = Console(width=self.width)
            console.print(headline(rows, policy, self.bound, self._counts), style="bold", soft_wrap=True)
            console.print(results_table(rows, policy, self.bound, self.columns))


def rows_of(logged: Mapping[str, Tensor | float], policy: str, bound: str | None = None) -> dict[str, Figures]:
    """Return the test figures of each policy; the module's own first, the bound last.

    >>> rows_of({"test/search/zpd": 1.0, "test/random/zpd": 0.5, "test/zpd": 0.75, "val/zpd": 0.0}, "policy", "search")
    {'policy': {'zpd': 0.75}, 'random': {'zpd': 0.5}, 'search': {'zpd': 1.0}}
    """
    rows: dict[str, dict[str, float]] = {policy: {}}
    for key, value in logged.items():
        match key.split("/"):
            case ["test", figure]:
                rows[policy][figure] = float(value)
            case ["test", name, figure]:
                rows.setdefault(name, {})[figure] = float(value)
    if bound in rows:
        rows[bound] = rows.pop(bound)
    return {name: figures for name, figures in rows.items() if figures}


def headline(rows: Mapping[str, Figures], policy: str, bound: str | None, counts: tuple[int, int] | None = None) -> str:
    """Say how many learners there were (`counts`: answers, learners), and how near the module comes to the bound.

    >>> rows = {"policy": {"learning_effect": 0.5, "sessions": 9.0}, "search": {"learning_effect": 1.0}}
    >>> headline(rows, "policy", "search")
    'Test results: 9 learners with something to learn; policy reaches 0.50 of search'
    >>> headline({"DKT": {"auc": 0.8}}, "DKT", None, (1200, 30))
    'Test results: 1,200 answers of 30 learners'
    """
    own = rows.get(policy, {})
    parts = [] if counts is None else [f"{counts[0]:,} answers of {counts[1]:,} learners"]
    sessions = [figures["sessions"] for figures in (own, *rows.values()) if "sessions" in figures]
    if sessions:
        parts.append(f"{sessions[0]:.0f} learners with something to learn")
    best = rows.get(bound, {}).get("learning_effect", 0.0) if bound else 0.0
    if best > 0 and "learning_effect" in own:
        parts.append(f"{policy} reaches {own['learning_effect'] / best:.2f} of {bound}")
    return "Test results: " + "; ".join(parts) if parts else "Test results"


def results_table(
    rows: Mapping[str, Figures], policy: str, bound: str | None, columns: Mapping[str, str] = COLUMNS
) -> Table:
    """Return the table of `rows_of`, ready to print."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    shown = {title: key for title, key in columns.items() if any(key in figures for figures in rows.values())}
    table.add_column("policy" if "learning_effect" in shown.values() else "model", no_wrap=True)
    for title, key in shown.items():
        interval = any(f"{key}_low" in figures for figures in rows.values())
        table.add_column(f"{title}\n\\[95 % interval]" if interval else title, justify="right")
    for name, figures in rows.items():
        style = "bold" if name == policy else "dim" if name == bound else ""
        table.add_row(name, *(_cell(figures, key) for key in shown.values()), style=style)
    return table


def _cell(figures: Figures, key: str) -> str:
    value, low, high = (figures.get(name, math.nan) for name in (key, f"{key}_low", f"{key}_high"))
    if math.isnan(value):
        return "–"
    if key == "path_length":
        return f"{value:.1f}"
    return f"{value:.3f}" if math.isnan(low + high) else f"{value:.3f} \\[{low:.3f}, {high:.3f}]"
