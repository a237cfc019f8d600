"""One command compares recommenders of exercises, leaves tables and pictures, and does nothing twice."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lpr_lightning import hparams

SMALL = ["--data.num_learners=60", "--data.num_concepts=6", "--trainer.max_epochs=1"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.logger=false", "--trainer.enable_model_summary=false"]


@pytest.fixture
def script(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_exercises", project / "experiments" / "compare_exercises.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare_exercises"] = module
    spec.loader.exec_module(module)
    return module


def command(out: Path, *methods: str) -> list[str]:
    own = [
        "--out",
        str(out),
        "--methods",
        *methods,
        "--goals",
        "practised",
        "weakest",
        "--length",
        "3",
        "--history",
        "9",
    ]
    few = ["--starts", "12", "--resamples", "5", "--pictured", "1", "--tracers", "performance_factors"]
    return [*own, *few, "--", *SMALL, *QUIET]


def figures(out: Path) -> dict[tuple[str, str, str, str], float]:
    with (out / "exercises.csv").open(newline="", encoding="utf-8") as file:
        return {
            (row["goal"], row["method"], row["judge"], row["figure"]): float(row["value"])
            for row in csv.DictReader(file)
        }


def test_one_command_compares_and_an_agent_plugs_in_by_its_file(
    script: ModuleType,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LPR_ALLOW_PACKAGES", "toys")
    monkeypatch.setattr(hparams, "ALLOWED_PACKAGES", [*hparams.ALLOWED_PACKAGES, "toys"])
    agent = tmp_path / "bandit.yaml"
    agent.write_text("model: {class_path: toys.method.TargetBandit}\ndata: {init_args: {batch_size: 16}}\n")
    (tmp_path / "short.yaml").write_text("trainer: {max_epochs: 2, enable_model_summary: false}\n")
    out = tmp_path / "out"
    script.main(command(out, "random", "exact_greedy", "historical"))
    capsys.readouterr()
    script.main(command(out, "random", "exact_greedy", "historical", f"{agent}+{tmp_path / 'short.yaml'}"))
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("==")]
    assert {line.split()[1] for line in said} == {"tracer", "bandit_short"}  # nothing else is measured again
    found = figures(out)
    judges = {judge for _, _, judge, _ in found}
    assert judges == {"performance_factors", "performance_factors_other_seed", "truth"}
    methods = {"random", "exact_greedy", "historical", "historical_questions", "bandit_short"}
    others = {"exact_greedy_in_performance_factors_other_seed", "oracle"}
    assert {method for _, method, _, _ in found} == methods | others
    for goal in ("practised", "weakest"):
        assert found[goal, "exact_greedy", "performance_factors", "of_bound"] == pytest.approx(1)
        assert found[goal, "oracle", "truth", "of_bound"] == pytest.approx(1)
        assert found[goal, "oracle", "truth", "gain"] > found[goal, "random", "truth", "gain"]
        own = found[goal, "exact_greedy", "performance_factors", "gain"]
        assert own >= found[goal, "random", "performance_factors", "gain"]
    assert not any((goal, "oracle", "performance_factors", "gain") in found for goal in ("practised", "weakest"))
    pictures = {path.name for path in out.glob("*.png")}
    assert {"figure_3.png", "figure_3_truth.png", "figure_9_weakest_0.png"} <= pictures
    assert list((out / "tensorboard").glob("events*"))
    text = (out / "exercises.md").read_text(encoding="utf-8")
    assert "## By truth" in text
    assert "12 starts" in text


def test_mistakes_are_named_before_any_fit(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="methods"):
        script.main(["--out", str(tmp_path), "--methods", "wishful_thinking"])
    with pytest.raises(SystemExit, match="history"):
        script.main(["--out", str(tmp_path), "--methods", "random", "--history", "500", "--", *SMALL])
    with pytest.raises(SystemExit):
        script.main(["--data", "dbe_kt22"])
