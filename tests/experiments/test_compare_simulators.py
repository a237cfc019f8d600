"""One command compares simulators, leaves tables and a picture, and does nothing twice."""

from __future__ import annotations

import csv
import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

SMALL = ["--data.num_learners=40", "--data.num_concepts=10", "--trainer.max_epochs=1"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.logger=false", "--trainer.enable_model_summary=false"]


def loaded(project: Path, name: str) -> ModuleType:
    """Return an experiment as a module."""
    spec = importlib.util.spec_from_file_location(name, project / "experiments" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script(project: Path) -> ModuleType:
    return loaded(project, "compare_simulators")


def command(out: Path, *tracers: str) -> list[str]:
    own = ["--out", str(out), "--tracers", *tracers, "--resamples", "5", "--paths", "10", "--learners", "6"]
    return [*own, "--", *SMALL, *QUIET]


def figures(out: Path, name: str) -> dict[tuple[str, str], float]:
    with (out / name).open(newline="", encoding="utf-8") as file:
        return {(row["row"], row["figure"]): float(row["value"]) for row in csv.DictReader(file)}


def test_one_command_compares_and_the_next_one_computes_only_what_is_new(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    script.main(command(out, "dkt", "performance_factors"))
    capsys.readouterr()
    first = figures(out, "simulators.csv")
    rows = {row for row, _ in first}
    rivals = {"learner_mean", "concept_mean", "question_mean", "logistic_sum", "last_answer"}
    assert rows == {"dkt", "performance_factors", "truth", *rivals}
    for row in ("dkt", "performance_factors"):
        assert -1 <= first[row, "rank_fidelity"] <= 1
        assert first[row, "agreement_with_dkt"] == pytest.approx(first["dkt", f"agreement_with_{row}"])
    assert not any((row, "agreement") in first for row in ("truth", *rivals))
    effects = figures(out, "policies.csv")
    assert effects["search in truth|truth", "effect"] > effects["random_targets|truth", "effect"]
    assert (out / "simulators.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "simulators.md").read_text(encoding="utf-8")
    for expected in ("| nearest_target in dkt |", "| by truth |", "## Agreement", "--learners 6"):
        assert expected in text

    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if "simulators" not in path.name}
    script.main(command(out, "dkt", "performance_factors"))
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("== ")]
    assert said == ["== tracer dkt", "== tracer performance_factors"]
    assert figures(out, "simulators.csv") == pytest.approx(first, nan_ok=True)
    assert all(path.stat().st_mtime_ns == time for path, time in written.items() if path.name != "policies.csv")

    script.main(command(out, "dkt", "performance_factors", "state_space"))
    said = [line.removeprefix("== ") for line in capsys.readouterr().out.splitlines() if line.startswith("== ")]
    assert {"answers_state_space", "answers_ensemble", "search_ensemble"} < set(said)
    assert not {"answers_dkt", "search_dkt", "effect_search_in_dkt_by_truth", "answers_truth"} & set(said)
    assert {row for row, _ in figures(out, "simulators.csv")} == rows | {"state_space", "ensemble"}


def test_a_broken_fit_goes_on(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    script.main(command(tmp_path / "out", "dkt"))
    (record,) = (tmp_path / "out" / "fits").glob("dkt_*/fit.json")
    before = figures(tmp_path / "out", "simulators.csv")
    record.unlink()
    words: list[list[str]] = []
    run = sys.modules["lpr_lightning.studies.tracer_fits"].main

    def noted(line: list[str]) -> None:
        words.append(line)
        run(line)

    monkeypatch.setattr("lpr_lightning.studies.tracer_fits.main", noted)
    script.main(command(tmp_path / "out", "dkt"))
    assert [line[-1] for line in words] == ["--ckpt_path=last"]
    after = figures(tmp_path / "out", "simulators.csv")
    assert after["dkt", "auc"] == before["dkt", "auc"]


def test_every_configuration_of_a_tracer_is_picked_up(
    script: ModuleType, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {path.stem for path in (project / "configs" / "tracer").glob("*.yaml")}
    assert set(script.tracer_configs(None)) == there | {"simple_kt", "calibrated_dkt"}
    shutil.copytree(project / "configs", tmp_path / "configs")
    shutil.copyfile(project / "configs" / "tracer" / "dkt.yaml", tmp_path / "configs" / "tracer" / "another.yaml")
    monkeypatch.setattr(script, "CONFIGS", tmp_path / "configs")
    assert "another" in script.tracer_configs(None)


def test_what_cannot_work_is_one_line(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["--data", "assist09"], ["--data", "nothing", "--root", "x"], ["--stride", "0"]):
        with pytest.raises(SystemExit):
            script.options_of(words)
    assert "--root" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"nothing.*performance_factors"):
        script.main(command(tmp_path / "out", "nothing"))
    with pytest.raises(SystemExit, match=r"nothing.*performance_factors"):
        script.main(["--out", str(tmp_path / "out"), "--ensemble", "nothing", "--", *SMALL])
    with pytest.raises(SystemExit, match="not found"):
        script.main(["--data", "assist09", "--root", str(tmp_path), "--out", str(tmp_path / "out")])


def test_figures_that_are_missing_are_left_empty(script: ModuleType) -> None:
    assert script.shown({}, "gain_slope") == script.shown({"gain_slope": float("nan")}, "gain_slope") == ""
    assert script.shown({"auc": 0.5, "auc_low": 0.4, "auc_high": 0.6}, "auc") == "0.500 [0.400, 0.600]"
    assert script.shown({"seconds": 12.3}, "seconds", 0) == "12"


def test_rivals_are_tested_on_every_fold(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    script = loaded(project, "simple_rivals")
    config, out = str(project / "configs" / "dkt.yaml"), tmp_path / "table.md"
    script.main(["--data", config, "--folds", "3", "--resamples", "5", "--out", str(out), "--data.num_learners=40"])
    lines = out.read_text(encoding="utf-8").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| learner_mean",
        "| concept_mean",
        "| question_mean",
        "| logistic_sum",
        "| last_answer",
    ]
    assert all(" ± " in line for line in lines[2:])
    with pytest.raises(SystemExit):
        script.main(["--data", config, "--model.width=3"])


@pytest.mark.data
@pytest.mark.slow
def test_the_question_means_of_real_answers(
    project: Path, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script, out = loaded(project, "simple_rivals"), tmp_path / "table.md"
    data = str(project / "configs" / "data" / "dbe_kt22.yaml")
    script.main(["--data", data, "--root", str(data_root / "dbe_kt22"), "--resamples", "2", "--out", str(out)])
    found = {line.split(" | ")[0]: float(line.split(" | ")[1]) for line in out.read_text().splitlines()[2:]}
    assert found["| question_mean"] == pytest.approx(0.782, abs=0.003)
    assert found["| logistic_sum"] == pytest.approx(0.795, abs=0.003)
