"""One command simulates the answers of every tracer, leaves tables and a picture, and does nothing twice."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SMALL = ["--data.num_learners=40", "--data.num_concepts=10", "--trainer.max_epochs=1"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.logger=false", "--trainer.enable_model_summary=false"]


@pytest.fixture
def script(project: Path) -> ModuleType:
    path = project / "experiments" / "simulate_answers.py"
    spec = importlib.util.spec_from_file_location("simulate_answers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulate_answers"] = module
    spec.loader.exec_module(module)
    return module


def test_rows_tables_and_what_is_kept(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own = ["--out", str(tmp_path / "out"), "--tracers", "dkt", "--resamples", "3", "--ratios", "0.3", "0.6"]
    more = ["--words", "narrow dkt=dkt:--model.hidden_size=8"]
    script.main([*own, *more, "--", *SMALL, *QUIET])
    with (tmp_path / "out" / "simulated.csv").open(newline="", encoding="utf-8") as file:
        found = {(row["row"], row["figure"]): float(row["value"]) for row in csv.DictReader(file)}
    rivals = {"learner_mean", "concept_mean", "question_mean", "logistic_sum", "last_answer"}
    assert {row for row, _ in found} == {"dkt", "narrow dkt", "truth", *rivals}
    for row in ("dkt", "truth", "learner_mean"):
        assert 0 <= found[row, "hard_0.3_auc"] <= 1
        assert found[row, "hard_0.3_answers"] == found["dkt", "sampled_0.3_answers"]
    assert found["truth", "sampled_0.6_score_error"] < found["concept_mean", "hard_0.6_score_error"]
    assert "told apart" in (tmp_path / "out" / "simulated.md").read_text()
    assert (tmp_path / "out" / "simulated.png").stat().st_size > 1000
    assert ("dkt", "mastery_correlation") in found
    capsys.readouterr()
    script.main([*own, *more, "--", *SMALL, *QUIET])
    assert "figures of" not in capsys.readouterr().out


def test_wrong_words_are_refused(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="NAME=TRACER:WORDS"):
        script.main(["--out", str(tmp_path), "--tracers", "--words", "mine=none:--x=1", "--", *SMALL, *QUIET])
    with pytest.raises(SystemExit):
        script.main(["--ratios", "1.5"])
