"""Answers of language models on disk, each there at once, so that none is paid for twice."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from lpr_lightning.annotation.chat import Answer, Prompt, Token
from lpr_lightning.errors import DamagedFileError, SettingError, UnwritableFileError

_TABLES = """
CREATE TABLE IF NOT EXISTS answers(
    prompt TEXT, model TEXT, question TEXT, task TEXT, messages TEXT, text TEXT, finish TEXT, tokens TEXT,
    prompt_tokens INTEGER, answer_tokens INTEGER, cost REAL, answered_at TEXT DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY(prompt, model, question));
CREATE TABLE IF NOT EXISTS under_way(
    prompt TEXT, model TEXT, question TEXT, task TEXT, tokens INTEGER, cost REAL,
    PRIMARY KEY(prompt, model, question));
CREATE TABLE IF NOT EXISTS lost(
    prompt TEXT, model TEXT, question TEXT, task TEXT, tokens INTEGER, cost REAL,
    lost_at TEXT DEFAULT CURRENT_TIMESTAMP);
"""
_LOSE = "INSERT INTO lost(prompt, model, question, task, tokens, cost) SELECT * FROM under_way"
_ONE = "WHERE prompt = ? AND model = ? AND question = ?"
_HELD = (errno.EWOULDBLOCK, errno.EACCES)
_ADVICE = "move it away to begin anew, or give another store"


class Paid(NamedTuple):
    """What the answers in a store took: requests, tokens, and money where prices were known."""

    requests: int
    tokens: int
    money: float


class AnswerStore:
    """A SQLite file of answers by prompt, model and question.

    An answer is committed before `keep` returns, so whatever moment the process is killed at, what `keep` returned from
    is there. `begin` notes a request before it is sent: requests that were lost before their answer, with the process
    or on the way, are kept apart, and what they may have cost at most counts as paid. One process at a time writes to a
    store; its threads share it.

    Args:
        path: the file; made where it is not there, with its folder.
        wait: seconds to wait for another process to let go of it.

    Attributes:
        lost: requests that were under way when an earlier process was killed.

    Raises:
        SettingError: another process holds it, or a file cannot be made there.
        DamagedFileError: the file is no such store.
        UnwritableFileError: the folder cannot be written to.
    """

    def __init__(self, path: str | Path, wait: float = 0.0) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._held = os.open(_lock(self.path), os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            raise UnwritableFileError(self.path, error) from error
        self._hold(wait)
        try:
            self._database = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=60)
            with self._guarded():
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("PRAGMA synchronous=FULL")
                self._database.executescript(_TABLES)
                self.lost = int(self._database.execute("SELECT COUNT(*) FROM under_way").fetchone()[0])
                with self._transaction():
                    self._database.execute(_LOSE)
                    self._database.execute("DELETE FROM under_way")
        except BaseException:
            os.close(self._held)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()
            os.close(self._held)

    def find(self, prompt: Prompt, model: str, question: str) -> Answer | None:
        """Return the answer to a prompt, if there is one.

        At temperature 0 the answer that the same model gave to the same words for another question serves too.
        """
        same = "" if prompt.temperature > 0 else "OR 1"
        with self._guarded():
            row = self._database.execute(
                "SELECT text, prompt_tokens, answer_tokens, finish, tokens FROM answers "
                f"WHERE prompt = ? AND model = ? AND (question = ? {same}) ORDER BY question != ? LIMIT 1",
                (prompt.key, model, question, question),
            ).fetchone()
        if row is None:
            return None
        tokens = tuple(Token(text, value, tuple(map(tuple, others))) for text, value, others in json.loads(row[4]))
        return Answer(row[0], row[1], row[2], row[3], tokens)

    def begin(self, prompt: Prompt, model: str, question: str, task: str, tokens: int, cost: float | None) -> None:
        """Note that a request is sent now, and what it may take at most."""
        row = (prompt.key, model, question, task, tokens, cost)
        with self._guarded():
            self._database.execute("INSERT OR REPLACE INTO under_way VALUES (?, ?, ?, ?, ?, ?)", row)

    def forget(self, prompt: Prompt, model: str, question: str, charged: bool = False) -> None:
        """Note that a request got no answer; one that may have been charged counts as lost."""
        which = (prompt.key, model, question)
        with self._guarded(), self._transaction():
            if charged:
                self._database.execute(f"{_LOSE} {_ONE}", which)
            self._database.execute(f"DELETE FROM under_way {_ONE}", which)

    def keep(self, prompt: Prompt, model: str, question: str, task: str, answer: Answer, cost: float | None) -> None:
        """Store an answer; it is on the disk when this returns."""
        messages = json.dumps([one._asdict() for one in prompt.messages], ensure_ascii=False)
        tokens = json.dumps(answer.tokens, ensure_ascii=False)
        used = (answer.prompt_tokens, answer.answer_tokens, cost)
        row = (prompt.key, model, question, task, messages, answer.text, answer.finish, tokens, *used)
        with self._guarded(), self._transaction():
            self._database.execute(
                "INSERT OR REPLACE INTO answers(prompt, model, question, task, messages, text, finish, tokens, "
                "prompt_tokens, answer_tokens, cost) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            self._database.execute(f"DELETE FROM under_way {_ONE}", (prompt.key, model, question))

    def paid(self) -> Paid:
        """Return what all answers took, of every run that used the store, with what lost requests took at most."""
        with self._guarded():
            kept = self._database.execute(
                "SELECT COUNT(*), TOTAL(prompt_tokens + answer_tokens), TOTAL(cost) FROM answers"
            ).fetchone()
            lost = self._database.execute("SELECT COUNT(*), TOTAL(tokens), TOTAL(cost) FROM lost").fetchone()
        return Paid(kept[0] + lost[0], int(kept[1] + lost[1]), float(kept[2] + lost[2]))

    def usual_tokens(self, model: str) -> dict[str, float]:
        """Return the mean length of an answer in tokens, by task."""
        with self._guarded():
            rows = self._database.execute(
                "SELECT task, AVG(answer_tokens) FROM answers WHERE model = ? GROUP BY task", (model,)
            ).fetchall()
        return {task: float(mean) for task, mean in rows}

    def _hold(self, wait: float) -> None:
        """Take the lock, which goes with the process however that ends."""
        until = time.monotonic() + wait
        while True:
            try:
                return fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _HELD:
                    return None  # a file system without locks
                if time.monotonic() >= until:
                    os.close(self._held)
                    allowed = "a store that no other process uses"
                    raise SettingError(
                        "store", str(self.path), allowed, "Wait for the other run, or give another"
                    ) from None
                time.sleep(0.05)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        yield
        self._database.execute("COMMIT")

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Let one thread at a time in, and say what SQLite's errors mean."""
        with self._lock:
            try:
                yield
            except sqlite3.OperationalError as error:
                if self._database.in_transaction:
                    self._database.rollback()
                raise UnwritableFileError(self.path, str(error)) from error
            except sqlite3.DatabaseError as error:
                raise DamagedFileError(self.path, str(error), _ADVICE) from error


def in_use(path: Path) -> bool:
    """Return whether a process holds a store."""
    try:
        held = os.open(_lock(path), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _HELD
    finally:
        os.close(held)
    return False


def _lock(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")
