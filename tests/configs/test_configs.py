"""Is every configuration commented key by key, and does every preset run? (tests/conformance runs the methods.)"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml

from lpr_lightning.cli.resume import leaves
from lpr_lightning.cli.session import run
from lpr_lightning.hparams import plain

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
EVERYTHING = sorted(CONFIGS.rglob("*.yaml"))
_KEY = re.compile(r"^\s*(- )?[A-Za-z_]\w*:(\s|$)")

SMALL = [
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
    "--trainer.enable_progress_bar=false",
    "--data.num_learners=60",
    "--model.demonstrations.announce=false",
    "--model.demonstrations.searches=[{class_path: GreedySearch}]",
    "--model.clone_epochs=1",
    "--model.group_size=4",
]


def ids(path: Path) -> str:
    """Name a parameter by its file."""
    return path.relative_to(CONFIGS).as_posix()


@pytest.mark.parametrize("path", EVERYTHING, ids=ids)
def test_every_key_with_a_value_is_commented(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    bare = [
        f"{number}: {line.strip()}"
        for number, line in enumerate(lines, start=1)
        if _KEY.match(line)
        and "#" not in line
        and not (number > 1 and lines[number - 2].lstrip().startswith("#"))
        and not line.rstrip().endswith(":")
        and "class_path:" not in line
    ]
    assert not bare, f"keys of {path.name} without a comment on their line or the one above: {bare}"


@pytest.mark.parametrize("path", EVERYTHING, ids=ids)
def test_it_is_plain_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_tracers_are_evaluated_alike() -> None:
    """Whole logs, the same split of the same learners: figures of two tracers may stand in one table."""
    found = {}
    for path in CONFIGS.glob("*.yaml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        data = content["data"]
        if data["init_args"].get("task", {}).get("class_path") == "NextAnswers":
            task = data["init_args"]["task"]["init_args"]
            own = {name: value for name, value in data["init_args"].items() if name not in ("batch_size", "task")}
            found[path.stem] = (data["class_path"], own, task["max_length"], task["evaluation_length"])
    assert len(found) >= 6
    assert all(one == found["dkt"] for one in found.values()), found


@pytest.mark.parametrize("path", sorted((CONFIGS / "preset").glob("*.yaml")), ids=ids)
def test_a_preset_runs_over_grpo(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    below = [] if path.stem == "dlpr" else ["--config", str(CONFIGS / "preset/dlpr.yaml")]
    arguments = ["--config", str(CONFIGS / "grpo.yaml"), *below, "--config", str(path), *SMALL]
    if path.stem == "src":
        arguments += ["--data.task.train=30", "--data.task.val=6", "--data.task.test=6"]
    cli = run(["fit", *arguments])
    preset = leaves(yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["init_args"])
    smaller = tuple(flag.partition("=")[0].removeprefix("--model.").split(".")[0] for flag in SMALL)
    kept = {name: value for name, value in preset.items() if not name.startswith((*smaller, "simulator.tracer"))}
    assert kept
    assert kept.items() <= leaves(plain(dict(cli.model.hparams))).items()
    assert "test/learning_effect" in cli.trainer.callback_metrics


@pytest.mark.parametrize("path", sorted((CONFIGS / "tracer").glob("*.yaml")), ids=ids)
def test_a_tracer_is_fitted_first(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few = tmp_path / path.name
    few.write_text(re.sub(r"max_epochs: \d+", "max_epochs: 2", path.read_text(encoding="utf-8")), encoding="utf-8")
    alone = ["--data.further_tasks=null"]  # whose tracers are fitted first too
    arguments = [f"--model.simulator.tracer={few}", "--config", str(CONFIGS / "grpo.yaml"), *SMALL, *alone]
    cli = run(["fit", *arguments, "--test_after_fit=false"])
    description = plain(cli.model.simulator)
    assert isinstance(description, dict)
    fitted = leaves(yaml.safe_load(path.read_text(encoding="utf-8"))["model"])
    assert {f"tracer.{name}": value for name, value in fitted.items()}.items() <= leaves(description).items()
    rows = list(csv.DictReader((tmp_path / "logs/grpo/version_0/tracer/metrics.csv").open(encoding="utf-8")))
    assert {row["epoch"] for row in rows} == {"0", "1"}
    assert all(0 < float(row["val/auc"]) < 1 for row in rows if row["val/auc"])
