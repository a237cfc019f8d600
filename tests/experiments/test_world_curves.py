"""The picture of the worlds is drawn by one command."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture
def script(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("world_curves", project / "experiments" / "world_curves.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_drawn(script: ModuleType, tmp_path: Path) -> None:
    script.main(["--out", str(tmp_path / "worlds.png")])
    assert (tmp_path / "worlds.png").read_bytes().startswith(b"\x89PNG")


def test_curves_begin_at_the_beginning_and_follow_the_path(script: ModuleType) -> None:
    for kind in script.WORLDS:
        learners = kind.learners(10, 50, 40)
        mastery = script.curves(learners)
        assert torch.equal(mastery[:, 0], learners.mastery(learners.begin(torch.arange(40))))
        assert mastery.shape == (40, len(script.PATH) + 1, 10)
        assert mastery[:, 10, script.PRACTISED].mean() > mastery[:, 0, script.PRACTISED].mean() + 0.15
