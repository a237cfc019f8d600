"""Is every configuration commented key by key, and does it run as it stands, only smaller?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lpr_lightning.cli import main
from lpr_lightning.cli.session import run

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
METHODS = sorted(CONFIGS.glob("*.yaml"))
EVERYTHING = sorted(CONFIGS.rglob("*.yaml"))
_KEY = re.compile(r"^\s*(- )?[A-Za-z_]\w*:(\s|$)")

SMALL = [
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
    "--trainer.enable_progress_bar=false",
    "--data.num_learners=60",
]
SMALLER = {
    "grpo": [
        "--model.preparation=Preparation",
        "--model.preparation.tracer_epochs=1",
        "--model.preparation.announce=false",
        "--model.preparation.demonstrators=[{class_path: GreedySearch}]",
        "--model.clone_epochs=1",
        "--model.group_size=4",
    ],
}
"""What makes a method's own preparation small, by the name of its configuration."""


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


@pytest.mark.parametrize("path", METHODS, ids=ids)
def test_it_runs_as_it_stands(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", str(path), *SMALL, *SMALLER.get(path.stem, [])])
    folder = Path("logs") / path.stem / "version_0"
    assert (folder / "metrics.json").is_file()
    assert (folder / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize("path", METHODS, ids=ids)
def test_its_last_checkpoint_is_tested_alone(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [*SMALL, *SMALLER.get(path.stem, [])]
    main(["fit", "--config", str(path), *arguments, "--trainer.max_epochs=1", "--test_after_fit=false"])
    cli = run(["test", "--config", str(path), *arguments, "--ckpt_path", "last"])
    assert any(name.startswith("test/") for name in cli.trainer.callback_metrics)


@pytest.mark.parametrize("path", sorted((CONFIGS / "preset").glob("*.yaml")), ids=ids)
def test_a_preset_runs_over_grpo(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grpo = CONFIGS / "grpo.yaml"
    arguments = ["--config", str(path), *SMALL, *SMALLER["grpo"]]
    if path.stem == "src":
        arguments += ["--data.task.train=30", "--data.task.val=6", "--data.task.test=6"]
    cli = run(["fit", "--config", str(grpo), *arguments])
    given = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["init_args"]["simulator"]["init_args"]
    assert given.items() <= dict(cli.model.simulator.hparams).items()
    assert "test/learning_effect" in cli.trainer.callback_metrics
