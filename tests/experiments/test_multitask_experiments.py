"""The experiments run as one command, leave table and picture, and are not run twice."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TINY = [
    "--data.num_learners=50",
    "--data.batch_size=64",
    "--model.hidden_size=8",
    "--model.embedding_size=8",
    "--trainer.limit_train_batches=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.logger=false",
]


@pytest.fixture
def script(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "multitask_experiments", project / "experiments" / "multitask_lstm.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_one_command_writes_all_and_the_next_one_runs_nothing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--epochs", "1", "--out", str(tmp_path / "out"), "--", *TINY]
    script.main(words)
    with (tmp_path / "out" / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert set(rows) == {one.name for one in script.EVERYTHING}
    assert rows["multitask"]["accuracy"] == rows["length_5"]["accuracy"]
    text = (tmp_path / "out" / "results.md").read_text(encoding="utf-8")
    for expected in ("| RNN |", "| bigram |", "| lambda_2 = 0.5 |", "| L = 9, copy last |", "--epochs 1"):
        assert expected in text
    assert (tmp_path / "out" / "results.png").read_bytes().startswith(b"\x89PNG")
    picture = (tmp_path / "out" / "results.csv").read_bytes()
    monkeypatch.setattr(script, "command_line", lambda _: pytest.fail("a finished run was run again"))
    script.main(words)
    assert (tmp_path / "out" / "results.csv").read_bytes() == picture


def test_other_settings_are_other_runs(script: ModuleType) -> None:
    options = [script.options_of(words) for words in ([], ["--epochs", "3"], ["--", "--model.dropout=0"])]
    folders = {script.MULTITASK.folder(one, 0) for one in options}
    assert len(folders) == 3
    assert script.MULTITASK.folder(options[0], 1) not in folders


def test_data_without_a_folder_are_refused(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--data", "assist09"], ["--data", "nothing", "--root", "x"]):
        with pytest.raises(SystemExit):
            script.options_of(words)
    assert "--root" in capsys.readouterr().err
