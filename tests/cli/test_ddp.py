"""Does the same command run in two processes, stop when one of them is interrupted, and go on?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DDP = ["--trainer.strategy", "ddp", "--trainer.devices", "2", "--trainer.accelerator", "cpu"]


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a program of its own."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lpr_lightning", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_in_the_same_folder(tiny: str) -> None:
    stopped = launch("fit", "--config", tiny, *DDP, "--model.stop_at", "6", "--trainer.max_epochs=3")
    assert stopped.returncode == 1, stopped.stderr
    assert Path("logs/tiny/version_0/checkpoints/interrupted.ckpt").is_file()
    arguments = ["--ckpt_path", "last", "--model.stop_at=-1", "--trainer.max_epochs=3"]
    resumed = launch("fit", "--config", tiny, *DDP, *arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert [path.name for path in Path("logs/tiny").iterdir()] == ["version_0"]
    figures = json.loads(Path("logs/tiny/version_0/metrics.json").read_text())
    assert figures["run"]["steps"] == 12
    assert "test/loss" in figures


@pytest.mark.slow
def test_two_processes_fit_a_tracer_first_or_take_the_cached_one_together(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LPR_CACHE", str(tmp_path / "cache"))
    model = "model: {class_path: tiny_parts.TinyTracer}\ntrainer: {max_epochs: 3}\n"
    Path("tracer.yaml").write_text(model, encoding="utf-8")
    learner = ["--model.learner=tiny_parts.Learner", "--model.learner.tracer=tracer.yaml"]
    for number, fitted in enumerate(("fitted now", "fitted before")):
        done = launch("fit", "--config", tiny, *DDP, *learner)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(fitted) == 1
        folder = Path(f"logs/tiny/version_{number}")
        assert (folder / "checkpoints/best.ckpt").is_file()
        assert (folder / "tracer/checkpoints/best.ckpt").is_file() == (number == 0)
    assert len(list((tmp_path / "cache/fits").iterdir())) == 1
