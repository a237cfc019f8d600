"""Is every configuration commented key by key, and does every preset run? (tests/conformance runs the methods.)"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lpr_lightning.cli.session import run

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
    "--model.preparation=Preparation",
    "--model.preparation.tracer_epochs=1",
    "--model.preparation.announce=false",
    "--model.preparation.demonstrators=[{class_path: GreedySearch}]",
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


@pytest.mark.parametrize("path", sorted((CONFIGS / "preset").glob("*.yaml")), ids=ids)
def test_a_preset_runs_over_grpo(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grpo = CONFIGS / "grpo.yaml"
    words = ["--config", str(path), *SMALL]
    if path.stem == "src":
        words += ["--data.task.train=30", "--data.task.val=6", "--data.task.test=6"]
    cli = run(["fit", "--config", str(grpo), *words])
    given = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["init_args"]["simulator"]["init_args"]
    assert given.items() <= dict(cli.model.simulator.hparams).items()
    assert "test/learning_effect" in cli.trainer.callback_metrics
