"""Is an answer on the disk as soon as it is kept, found again, and counted once?"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lpr_lightning.annotation import Answer, AnswerStore, Message, Prompt, Token
from lpr_lightning.annotation.store import Paid, in_use
from lpr_lightning.errors import DamagedFileError, SettingError, UnwritableFileError

PROMPT = Prompt((Message("system", "You count."), Message("user", "2 + 2?")))
ANSWER = Answer("4", 7, 1, tokens=(Token("4", -0.1, (("4", -0.1), ("5", -3.0))),))


def test_what_is_kept_is_found_again_by_another_process(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; sys.path.insert(0, sys.argv[2]); from test_answer_store import *\n"
        "store = AnswerStore(sys.argv[1]); store.begin(PROMPT, 'm', 'q', 't', 9, 0.5)\n"
        "store.keep(PROMPT, 'm', 'q', 't', ANSWER, 0.25); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.db"), str(Path(__file__).parent)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    with AnswerStore(tmp_path / "a.db") as store:
        assert store.lost == 0
        assert store.find(PROMPT, "m", "q") == ANSWER
        assert store.find(PROMPT, "another", "q") is None
        assert store.find(PROMPT.after("4", "sure?"), "m", "q") is None
        assert store.paid() == Paid(1, 8, 0.25)
        assert store.usual_tokens("m") == {"t": 1.0}


def test_the_same_words_for_another_question_are_paid_for_once_unless_drawn(tmp_path: Path) -> None:
    drawn = Prompt(PROMPT.messages, temperature=0.7)
    with AnswerStore(tmp_path / "a.db") as store:
        for prompt in (PROMPT, drawn):
            store.keep(prompt, "m", "q", "t", ANSWER, None)
        assert store.find(PROMPT, "m", "other") == ANSWER
        assert store.find(drawn, "m", "other") is None
        assert store.find(drawn, "m", "q") == ANSWER


def test_a_request_that_was_under_way_counts_with_the_most_it_may_have_cost(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.db") as store:
        store.begin(PROMPT, "m", "q", "t", 500, 2.0)
        store.begin(PROMPT, "m", "r", "t", 500, 2.0)
        store.begin(PROMPT, "m", "s", "t", 500, 2.0)
        store.forget(PROMPT, "m", "r")
        store.forget(PROMPT, "m", "s", charged=True)
        assert store.paid() == Paid(1, 500, 2.0)
    for lost in (1, 0):
        with AnswerStore(tmp_path / "a.db") as store:
            assert store.lost == lost
            assert store.paid() == Paid(2, 1000, 4.0)
            assert store.find(PROMPT, "m", "q") is None


def test_one_process_at_a_time(tmp_path: Path) -> None:
    assert not in_use(tmp_path / "a.db")
    with AnswerStore(tmp_path / "a.db"):
        assert in_use(tmp_path / "a.db")
        with pytest.raises(SettingError, match="a store that no other process uses"):
            AnswerStore(tmp_path / "a.db")
        with pytest.raises(SettingError, match="a store that no other process uses"):
            AnswerStore(tmp_path / "a.db", wait=0.1)
    assert not in_use(tmp_path / "a.db")
    AnswerStore(tmp_path / "a.db").close()


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be read as one" * 9, os.urandom(4096)])
def test_another_file_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="move it away"):
        AnswerStore(path)
    assert path.read_bytes() == content


def test_a_torn_store_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with AnswerStore(path) as store:
        for number in range(200):
            store.keep(PROMPT, "m", str(number), "t", ANSWER, None)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DamagedFileError):
        AnswerStore(path).paid()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableFileError):
        AnswerStore(tmp_path / "file" / "a.db")


def test_a_full_disk_is_told_and_takes_nothing_away(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.db") as store:
        store.keep(PROMPT, "m", "q", "t", ANSWER, None)
        pages = store._database.execute("PRAGMA page_count").fetchone()[0]
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(UnwritableFileError, match="full"):
            store.keep(PROMPT, "m", "r", "t", Answer("x" * 50_000, 1, 1), None)
        store._database.execute("PRAGMA max_page_count = 100000")
        assert store.find(PROMPT, "m", "q") == ANSWER
        store.keep(PROMPT, "m", "r", "t", Answer("x" * 50_000, 1, 1), None)
    assert sqlite3.connect(tmp_path / "a.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)
