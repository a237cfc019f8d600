"""metrics.csv is carried on: nothing is deleted, nothing stands there twice, a torn row is dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from lpr_lightning.cli.metrics_csv import CarryingWriter
from lpr_lightning.errors import UnwritableFileError

BEFORE = "epoch,step,train/loss,val/auc\n0,0,0.5,\n0,1,0.4,\n0,1,,0.7\n1,2,0.3,\n1,3,0."


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that a kill has torn."""
    path = tmp_path / "metrics.csv"
    path.write_text(BEFORE, encoding="utf-8")
    return path


def test_rows_after_the_checkpoint_go_and_those_before_stay_once(file: Path) -> None:
    writer = CarryingWriter(str(file.parent), steps=2)
    writer.log_metrics({"epoch": 0, "val/auc": 0.7}, step=1)  # was there already
    writer.log_metrics({"epoch": 0, "val/loss": 0.9}, step=1)  # was not
    writer.log_metrics({"epoch": 1, "train/loss": 0.25}, step=2)
    writer.save()
    rows = file.read_text(encoding="utf-8").splitlines()
    assert rows == [
        "epoch,step,train/loss,val/auc,val/loss",
        *("0,0,0.5,,", "0,1,0.4,,", "0,1,,0.7,", "0,1,,,0.9", "1,2,0.25,,"),
    ]


def test_without_a_checkpoint_every_whole_row_stays(file: Path) -> None:
    CarryingWriter(str(file.parent), steps=None)
    assert file.read_text(encoding="utf-8").splitlines() == BEFORE.splitlines()[:-1]


def test_a_run_that_cannot_write_its_figures_says_so(tmp_path: Path) -> None:
    writer = CarryingWriter(str(tmp_path / "run"), steps=None)
    writer.log_metrics({"train/loss": 1.0}, step=0)
    (tmp_path / "run/metrics.csv").mkdir()
    with pytest.raises(UnwritableFileError, match=r"metrics.csv could not be written: Is a directory"):
        writer.save()
