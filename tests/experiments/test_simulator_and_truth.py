"""The picture of effects in the simulator against effects in truth, from the figures of runs."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "experiments/simulator_and_truth.py"


def figures() -> dict[str, float | None]:
    found: dict[str, float | None] = {
        "val/learning_effect_soft": 0.5,
        "test/ahead/oracle/true_learning_effect_soft": 0.6,
    }
    for task, own, true in (("test", 0.6, 0.5), ("test/ahead", 0.4, 0.3)):
        found |= {f"{task}/learning_effect_soft": own, f"{task}/true_learning_effect_soft": true}
        found |= {f"{task}/random/learning_effect_soft": 0.1, f"{task}/random/true_learning_effect_soft": true / 10}
        found |= {f"{task}/true_share_of_oracle": 0.8, f"{task}/oracle/true_learning_effect_soft": 0.6}
    return found


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulator_and_truth", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulator_and_truth"] = module
    spec.loader.exec_module(module)
    return module


def test_every_policy_of_every_task_is_a_point(script: ModuleType) -> None:
    assert [tuple(point) for point in script.points(figures())] == [
        ("test", "policy", 0.6, 0.5),
        ("test", "random", 0.1, 0.05),
        ("test/ahead", "policy", 0.4, 0.3),
        ("test/ahead", "random", 0.1, 0.03),
    ]


def test_picture_and_table_are_written(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(figures()))
    script.main([f"one={tmp_path}", "--out", str(tmp_path / "a.png"), "--csv", str(tmp_path / "a.csv")])
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert {row["policy"] for row in rows} == {"policy", "random"}
    assert {row["panel"] for row in rows} == {"one"}


@pytest.mark.parametrize(
    ("word", "message"),
    [("nothing", "title and a run"), ("a=missing", "missing was not found"), ("a=EMPTY", "true_learning")],
)
def test_wrong_runs_are_refused_in_one_line(script: ModuleType, tmp_path: Path, word: str, message: str) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(SystemExit, match=message):
        script.main([word.replace("EMPTY", str(tmp_path)), "--out", str(tmp_path / "a.png")])
