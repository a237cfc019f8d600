"""What every test gets: one thread, a cache of its own, and no run left in the project."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).resolve().parent.parent
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in jobs that it starts in the background

TINY = """\
model:
  class_path: tiny_parts.TinyModel
  init_args:
    part: {class_path: tiny_parts.Part, init_args: {scale: 0.5}}
data: {class_path: tiny_parts.TinyData}
trainer: {max_epochs: 2, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
"""


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LPR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_runs_left() -> Iterator[None]:
    before = set((PROJECT / "logs").glob("*/*"))
    yield
    left = set((PROJECT / "logs").glob("*/*")) - before
    assert not left, f"a test wrote its run into the project: {sorted(left)}"


@pytest.fixture
def data_root() -> Path:
    """The folder of real learner data: `$LPR_DATA`, else `../shared/data` beside the project."""
    root = Path(os.environ.get("LPR_DATA") or PROJECT.parent / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no real data: set LPR_DATA to its folder ({root} is none)")
    return root


@pytest.fixture
def project() -> Path:
    """The project's folder."""
    return PROJECT


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Go to an empty folder that holds tiny.yaml, and allow the tiny parts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(PROJECT / "tests" / "cli"))
    monkeypatch.setenv("LPR_ALLOW_PACKAGES", "tiny_parts")
    (tmp_path / "tiny.yaml").write_text(TINY, encoding="utf-8")
    return "tiny.yaml"
