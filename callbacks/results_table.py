"""The table at the end of a test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lpr_lightning.errors import SettingError

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
}
"""Column title and the figure it shows; a column that no policy has is left out."""


class ResultsTable(Callback):
    """Prints the test figures of the module and of all policies beside it, one row each.

    Reads `test/<figure>` for the module and `test/<name>/<figure>` for the others from `trainer.callback_metrics`,
    whoever logged them. Learning effects come with their 95 % interval where `…_low` and `…_high` are logged. Nothing
    is printed where no learning effect was logged.

    Args:
        policy: name of the module's own row.
        bound: name of the policy that is an upper bound: it comes last, and the headline says what share of it the
            module reaches. Null for none.
        width: columns of the table where the output is not a terminal.

    Raises:
        SettingError: `policy` is empty or `width` is below 60.
    """

    def __init__(self, policy: str = "policy", bound: str | None = "search", width: int = 100) -> None:
        if not policy:
            raise SettingError("policy", policy, "a name")
        if width < 60:
            raise SettingError("width", width, "at least 60 columns")
        self.policy, self.bound, self.width = policy, bound, width

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print, on rank zero."""
        if not trainer.is_global_zero:
            return
        from rich.console import Console

        rows = rows_of(trainer.callback_metrics, self.policy, self.bound)
        if any("learning_effect" in figures for figures in rows.values()):
            console = Console()
            if not console.is_terminal:
                console = Console(width=self.width)
            console.print(headline(rows, self.policy, self.bound), style="bold", soft_wrap=True)
            console.print(results_table(rows, self.policy, self.bound))


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


def headline(rows: Mapping[str, Figures], policy: str, bound: str | None) -> str:
    """Say how many learners there were, and how near the module comes to the bound.

    >>> rows = {"policy": {"learning_effect": 0.5, "sessions": 9.0}, "search": {"learning_effect": 1.0}}
    >>> headline(rows, "policy", "search")
    'Test results: 9 learners with something to learn; policy reaches 0.50 of search'
    """
    own = rows.get(policy, {})
    parts = []
    sessions = [figures["sessions"] for figures in (own, *rows.values()) if "sessions" in figures]
    if sessions:
        parts.append(f"{sessions[0]:.0f} learners with something to learn")
    best = rows.get(bound, {}).get("learning_effect", 0.0) if bound else 0.0
    if best > 0 and "learning_effect" in own:
        parts.append(f"{policy} reaches {own['learning_effect'] / best:.2f} of {bound}")
    return "Test results: " + "; ".join(parts) if parts else "Test results"


def results_table(rows: Mapping[str, Figures], policy: str, bound: str | None) -> Table:
    """Return the table of `rows_of`, ready to print."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    shown = {title: key for title, key in COLUMNS.items() if any(key in figures for figures in rows.values())}
    table.add_column("policy", no_wrap=True)
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
