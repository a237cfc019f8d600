"""How far a run has come: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from lpr_lightning.annotation.work import Status

SECONDS = 10.0
"""From one line to the next, where there is no terminal."""


class Progress:
    """Shows where a run stands, with what it has cost.

    Args:
        console: where it is shown.
        total: questions to annotate.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._next = time.monotonic() + SECONDS
        columns = (TextColumn("annotating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Bar(*columns, TextColumn("{task.fields[told]}"), console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=total, told="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, status: Status) -> None:
        """Show a status."""
        told = str(status).partition("; ")[2]
        self._bar.update(self._task, completed=status.done + sum(status.set_aside.values()), told=told)
        if not self._console.is_terminal and time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS
            self._console.print(str(status), highlight=False)
