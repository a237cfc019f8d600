"""metrics.csv of a run: appended to, never deleted, no step twice."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from lpr_lightning.cache import atomic_write
from lpr_lightning.errors import UnwritableFileError


class MetricsCsv(CSVLogger):
    """Lightning's CSV logger, which carries on an earlier file of the run.

    Lightning's own deletes it. Written with each checkpoint, so that a run that goes on from it misses nothing.

    Args:
        home: folder of all runs.
        name: folder of the runs of one configuration, within `home`.
        version: the run's folder within that.
        steps: where the run goes on, the steps logged before: later rows are dropped, since they are logged again.
    """

    def __init__(self, home: str, name: str, version: str, steps: int | None = None) -> None:
        super().__init__(home, name=name, version=version)
        self.steps = steps

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, made when it is first asked for."""
        if self._experiment is None:
            self._experiment = CarryingWriter(self.log_dir, self.steps)
        assert isinstance(self._experiment, ExperimentWriter)
        return self._experiment

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Write what was logged."""
        self.save()


class CarryingWriter(ExperimentWriter):
    """Writes metrics.csv, after the rows that are there.

    Args:
        log_dir: the run's folder.
        steps: rows of this step and later ones are dropped; None keeps all.
    """

    def __init__(self, log_dir: str, steps: int | None) -> None:
        super().__init__(log_dir)
        self._last = -1 if steps is None else steps - 1
        self._known: set[frozenset[str]] = set()
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        rows = _whole_rows(path)
        kept = [row for row in rows if steps is None or int(row["step"]) < steps]
        self.metrics_keys = list(rows[0]) if rows else []
        self._known = {_filled(row) for row in kept if int(row["step"]) == self._last}
        self._write(kept, self.metrics_keys)

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        """Record figures; those of the last step before a resume that are there already are left out."""
        super().log_metrics(metrics_dict, step)
        if step == self._last and _filled(self.metrics[-1]) in self._known:
            self.metrics.pop()

    def save(self) -> None:
        """Append what was recorded.

        Raises:
            UnwritableFileError: the disk is full, or the folder cannot be written to.
        """
        try:
            super().save()
        except OSError as error:
            raise UnwritableFileError(self.metrics_file_path, error) from error

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._write(_whole_rows(Path(self.metrics_file_path)), fieldnames)

    def _write(self, rows: list[dict[str, str]], fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        if not fieldnames:
            path.unlink(missing_ok=True)
            return
        with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames)
            writer.writeheader()
            writer.writerows(rows)

    def _check_log_dir_exists(self) -> None:
        """Leave what is there, which Lightning's own deletes."""
        os.makedirs(self.log_dir, exist_ok=True)


def _whole_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file, without one that a kill has torn."""
    text = path.read_text(encoding="utf-8")
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    return [row for row in rows if row.get("step", "").isdigit() and None not in row and None not in row.values()]


def _filled(row: dict[str, str] | dict[str, float]) -> frozenset[str]:
    """Return the names of a row's figures."""
    return frozenset(name for name, value in row.items() if value not in ("", None))
