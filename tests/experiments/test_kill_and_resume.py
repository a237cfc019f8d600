"""Kills, ends that are compared, a table that can be gone on with."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill_and_resume", project / "experiments" / "kill_and_resume.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kill_and_resume", module)
    spec.loader.exec_module(module)
    return module


def test_a_killed_run_of_ours_ends_equally_and_the_record_is_gone_on_with(tmp_path: Path, script: ModuleType) -> None:
    words = ["--out", str(tmp_path / "out"), "--kills", "1", "--saves", "1", "--size", "1", "--configs", "none"]
    document = tmp_path / "table.md"
    document.write_text("before\n<!-- kills -->\nold\n<!-- end of kills -->\nafter\n")
    words += ["--document", str(document), "--other", str(tmp_path)]
    script.main(words)
    record = json.loads((tmp_path / "out/kills.json").read_text())
    ours, stock = (record[name]["kills"] for name in (script.OURS, script.STOCK))
    assert ours[0]["outcome"] == "equal"
    assert stock[0]["phase"]
    assert record["saving: SafeCheckpointIO"]["kills"][0]["outcome"] == "whole"
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| plain module with ExactResume, LastCheckpoint, SafeCheckpointIO | 1 |" in text
    script.main(words)
    assert json.loads((tmp_path / "out/kills.json").read_text()) == record
