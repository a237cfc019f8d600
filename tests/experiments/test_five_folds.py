"""One command runs every fold, goes on where it was stopped, and pools what each learner was tested on once."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def five_folds(project: Path) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("five_folds", project / "experiments" / "five_folds.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(project: Path, out: Path, config: str) -> list[str]:
    own = [
        "--config",
        str(project / "configs" / f"{config}.yaml"),
        "--folds",
        "3",
        "--out",
        str(out),
        "--resamples",
        "5",
    ]
    small = ["--trainer.max_epochs=1", "--data.num_learners=30", "--trainer.enable_progress_bar=false"]
    return [*own, "--", *small]


@pytest.mark.parametrize("config", ["dkt", "simple_kt"])
def test_folds_are_run_once_and_pooled(
    config: str, five_folds: ModuleType, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = command(project, tmp_path / "out", config)
    five_folds.main(words)
    result = json.loads((tmp_path / "out" / "five_folds.json").read_text())
    assert result["pooled"]["learners"] == 30
    figure = result["figures"]["test/auc"]
    assert figure["mean"] == pytest.approx(sum(figure["folds"]) / 3)
    assert figure["low"] < figure["mean"] < figure["high"]
    assert "| test/auc |" in (tmp_path / "out" / "five_folds.md").read_text()

    (metrics,) = (tmp_path / "out" / "fold_1").glob("logs/*/version_*/metrics.json")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("fold_*/logs/*/*/answers.safetensors")}
    metrics.unlink()
    five_folds.main(words)
    again = json.loads((tmp_path / "out" / "five_folds.json").read_text())
    changed = {path.parents[3].name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {"fold_1"}
    assert again["figures"] == result["figures"]
    with pytest.raises(SystemExit, match="another command"):
        five_folds.main([*words, "--trainer.max_epochs=2"])


def test_the_interval_is_that_of_students_t(five_folds: ModuleType) -> None:
    found = five_folds.spread([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found["sd"] == pytest.approx(1.5811, abs=1e-4)
    assert found["high"] - found["mean"] == pytest.approx(2.776 * 1.5811 / 5**0.5, abs=1e-3)
