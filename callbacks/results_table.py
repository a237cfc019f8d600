"""The table at the end of a test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lpr_lightning.bases.staged import figures_name
from lpr_lightning.callbacks.evaluation import AnswersCallback
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.ranks import gathered
from lpr_lightning.types import Answers

if TYPE_CHECKING:
    from rich.table import Table

Figures = Mapping[str, float]
ORACLE = "oracle"
"""Name of the policy that plans with access to the truth; its row comes last."""

COLUMNS = {
    "learning effect": "learning_effect",
    "soft\nmarks": "learning_effect_soft",
    "hard\nmarks": "learning_effect_hard",
    "true effect": "true_learning_effect",
    "true,\nhard": "true_learning_effect_hard",
    "of\noracle": "true_share_of_oracle",
    "policy over\nit in truth": "true_over",
    "on\ntarget": "on_target",
    "same\nfirst": "first_step_share",
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
    whoever logged them. A figure comes with its 95 % interval where `…_low` and `…_high` are logged, with its standard
    error where `…_error` is. What is too wide for one table goes on in another. The headline says how many learners
    there were and, where the steps return `"answers"` (`types.Answers`), how many answers; what share of the oracle's
    true effect the module reaches; how faithful the simulator is. Nothing is printed where no figure of any column was
    logged.

    Args:
        policy: name of the module's own row; by default `policy` where paths are judged, else the module's class.
        reference: names of searches in the same simulator: the headline says what share of the best one's effect
            there the module reaches. It is no bound, neither in the simulator nor in truth. An empty list for none.
        width: columns of the tables where the output is not a terminal.
        columns: figure by column title, in order; by default those of paths and of answers in `COLUMNS`.

    Raises:
        SettingError: `policy` or `columns` is empty or `width` is below 60.
    """

    def __init__(
        self,
        policy: str | None = None,
        reference: Sequence[str] = ("search", "chain_search"),
        width: int = 100,
        columns: dict[str, str] | None = None,
    ) -> None:
        super().__init__(stages=["test"])
        if policy == "":
            raise SettingError("policy", policy, "a name, or null")
        checked("width", width, 60)
        if columns is not None and not columns:
            raise SettingError("columns", columns, "at least one title with its figure, or null")
        self.policy, self.reference, self.width = policy, list(reference), width
        self.columns = COLUMNS if columns is None else dict(columns)
        self._learners: list[Tensor] = []
        self._counts: tuple[int, int] | None = None

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the last test."""
        self._learners, self._counts = [], None

    def take(self, trainer: Trainer, pl_module: LightningModule, stage: str, answers: Answers) -> None:
        """Note whose answers were predicted."""
        self._learners.append(answers.learner)

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Count answers and learners of all ranks."""
        own = torch.cat(self._learners) if self._learners else torch.empty(0, dtype=torch.int64)
        everyone, self._learners = gathered(own, pl_module.device), []
        self._counts = (len(everyone), len(set(everyone.tolist())))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print, on rank zero."""
        if not trainer.is_global_zero:
            return
        logged, prefix = trainer.callback_metrics, figures_name(trainer, "test") + "/"
        policy = self.policy or ("policy" if f"{prefix}learning_effect" in logged else type(pl_module).__name__)
        rows = rows_of(logged, policy, prefix)
        if any(key in figures for key in self.columns.values() for figures in rows.values()):
            from rich.console import Console

            console = Console()
            if not console.is_terminal:
                console = Console(width=self.width)
            title = headline(rows, policy, self.reference, self._counts, prefix.strip("/").partition("/")[2])
            console.print(title, style="bold")
            for columns in fitting(rows, policy, self.columns, console.width):
                console.print(results_table(rows, policy, columns))


def rows_of(logged: Mapping[str, Tensor | float], policy: str, prefix: str = "test/") -> dict[str, Figures]:
    """Return the figures of each policy whose names begin with `prefix`; the module's own first, the oracle's last.

    >>> rows_of({"test/oracle/zpd": 1.0, "test/random/zpd": 0.5, "test/zpd": 0.75, "val/zpd": 0.0}, "policy")
    {'policy': {'zpd': 0.75}, 'random': {'zpd': 0.5}, 'oracle': {'zpd': 1.0}}
    """
    rows: dict[str, dict[str, float]] = {policy: {}}
    for key, value in logged.items():
        if not key.startswith(prefix):
            continue
        match key.removeprefix(prefix).split("/"):
            case [figure]:
                rows[policy][figure] = float(value)
            case [name, figure]:
                rows.setdefault(name, {})[figure] = float(value)
    if ORACLE in rows:
        rows[ORACLE] = rows.pop(ORACLE)
    return {name: figures for name, figures in rows.items() if figures}


def headline(
    rows: Mapping[str, Figures],
    policy: str,
    reference: Sequence[str],
    counts: tuple[int, int] | None = None,
    task: str = "",
) -> str:
    """Say how many learners there were (`counts`: answers, learners), and how far the module and its simulator come.

    >>> own = {"learning_effect": 0.5, "sessions": 9.0, "true_share_of_oracle": 0.3, "rank_fidelity": 0.25}
    >>> print(headline({"policy": own, "search": {"learning_effect": 1.0}}, "policy", ["search"]))
    Test results: 9 learners with something to learn
    policy reaches 0.50 of search in the simulator, 0.30 of oracle in truth; rank fidelity of the simulator 0.25
    >>> headline({"DKT": {"auc": 0.8}}, "DKT", [], (1200, 30))
    'Test results: 1,200 answers of 30 learners'
    """
    own = rows.get(policy, {})
    parts = [] if counts is None else [f"{counts[0]:,} answers of {counts[1]:,} learners"]
    sessions = [figures["sessions"] for figures in (own, *rows.values()) if "sessions" in figures]
    if sessions:
        parts.append(f"{sessions[0]:.0f} learners with something to learn")
    title = f"Test results, {task}" if task else "Test results"
    first = f"{title}: " + "; ".join(parts) if parts else title
    reached = []
    found = {name: rows[name]["learning_effect"] for name in reference if "learning_effect" in rows.get(name, {})}
    best = max(found, key=lambda name: found[name], default="")
    if best and found[best] > 0 and "learning_effect" in own:
        reached.append(f"{own['learning_effect'] / found[best]:.2f} of {best} in the simulator")
    if "true_share_of_oracle" in own:
        reached.append(f"{own['true_share_of_oracle']:.2f} of {ORACLE} in truth")
    second = [f"{policy} reaches {', '.join(reached)}"] if reached else []
    if "rank_fidelity" in own:
        second.append(f"rank fidelity of the simulator {own['rank_fidelity']:.2f}")
    return "\n".join([first, "; ".join(second)] if second else [first])


def fitting(rows: Mapping[str, Figures], policy: str, columns: Mapping[str, str], width: int) -> list[dict[str, str]]:
    """Return the columns that any row has, in order, dealt out to as few tables as a line of `width` places allows."""
    from rich.console import Console

    endless = Console(width=10_000)
    tables: list[dict[str, str]] = []
    for title, key in columns.items():
        if not any(key in figures for figures in rows.values()):
            continue
        wider = {**(tables[-1] if tables else {}), title: key}
        if tables and endless.measure(results_table(rows, policy, wider)).maximum <= width:
            tables[-1] = wider
        else:
            tables.append({title: key})
    return tables


def results_table(rows: Mapping[str, Figures], policy: str, columns: Mapping[str, str] = COLUMNS) -> Table:
    """Return the table of `rows_of` with those of the columns that any row has, ready to print."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown = {title: key for title, key in columns.items() if any(key in figures for figures in rows.values())}
    paths = any("learning_effect" in figures for figures in rows.values())
    table.add_column("policy" if paths else "model", no_wrap=True)
    for title, key in shown.items():
        interval = any(f"{key}_low" in figures for figures in rows.values())
        table.add_column(f"{title}\n\\[95 % interval]" if interval else title, justify="right", no_wrap=True)
    for name, figures in rows.items():
        style = "bold" if name == policy else "dim" if name == ORACLE else ""
        table.add_row(name, *(_cell(figures, key) for key in shown.values()), style=style)
    return table


def _cell(figures: Figures, key: str) -> str:
    value, low, high, error = (figures.get(f"{key}{end}", math.nan) for end in ("", "_low", "_high", "_error"))
    if math.isnan(value):
        return "–"
    if key == "path_length":
        return f"{value:.1f}"
    if not math.isnan(error):
        return f"{value:+.3f} ± {error:.3f}"
    return f"{value:.3f}" if math.isnan(low + high) else f"{value:.3f} \\[{low:.3f}, {high:.3f}]"
