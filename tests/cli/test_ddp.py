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
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
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
