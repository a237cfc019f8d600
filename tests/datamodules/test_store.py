"""Of all processes that need the same source at once, one reads it."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lpr_lightning.cache import alone
from lpr_lightning.datamodules.store import StoredTable
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.errors import UnwritableFileError
from lpr_lightning.types import Interactions


def stored(folder: Path) -> StoredTable:
    def read() -> AnswerTable:
        with (folder / "reads").open("a", encoding="utf-8") as file:
            file.write("once\n")
        time.sleep(0.3)
        log = Interactions.from_lists([[(0, 1)]])
        return AnswerTable(replace(log, item=log.item.clone()), ["Ada"], ["q"], ["c"], ["c"])

    return StoredTable(folder / "cache", "Toy", [1], read)


def test_processes_that_start_together_read_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=lambda: stored(tmp_path).vocabulary()) for _ in range(4)]
    for one in started:
        one.start()
    for one in started:
        one.join(60)
    assert [one.exitcode for one in started] == [0] * 4
    assert (tmp_path / "reads").read_text(encoding="utf-8") == "once\n"
    assert [one.suffix for one in (tmp_path / "cache").iterdir()] == [".safetensors"]


def test_a_killed_reader_lets_the_next_one_in(tmp_path: Path) -> None:
    def hang() -> None:
        with alone(tmp_path / "a"):
            (tmp_path / "inside").touch()
            time.sleep(60)

    process = multiprocessing.get_context("fork").Process(target=hang)
    process.start()
    while not (tmp_path / "inside").exists():
        time.sleep(0.01)
    process.kill()
    process.join()
    with alone(tmp_path / "a"):
        pass
    assert [one.name for one in tmp_path.iterdir()] == ["inside"]


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableFileError, match=r"a.txt could not be written"), alone(tmp_path / "file" / "a.txt"):
        pass
