"""The process that asks: it outlives a killed command by the requests under way, so that no paid answer is lost.

`follow` starts it. It reads the work as one line of JSON from its standard input, which stays open as long as the
command lives, and writes lines of JSON that say where the run stands. When the input ends, nothing new is asked; what
is under way is answered and stored, and the process ends.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any, TypedDict

from lpr_lightning.annotation.asker import Retries
from lpr_lightning.annotation.budget import Prices
from lpr_lightning.annotation.chat import Client
from lpr_lightning.annotation.keys import without_key
from lpr_lightning.annotation.prompt_templates import Templates
from lpr_lightning.annotation.work import ConceptJob, Limits, Plan, Status, run
from lpr_lightning.errors import LPRError
from lpr_lightning.questions import Question

if TYPE_CHECKING:
    from lpr_lightning.annotation.extension import Extension

GRACE = 5.0
"""Seconds beyond a request's timeout until another process lets go of a store."""
_PARTS = {"templates": Templates, "retries": Retries, "prices": Prices, "limits": Limits}


class Described(TypedDict):
    """A client as plain values: its class and the arguments of its constructor."""

    class_path: str
    init_args: Mapping[str, object]


def follow(
    client: Described,
    plan: Plan,
    questions: Sequence[Question],
    wait: float,
    report: Callable[[Status], None],
    extension: Extension | None = None,
) -> Status:
    """Annotate or extend questions in a process of its own; return how that ended.

    Ctrl-C asks it to end with the requests under way; a second one ends it at once.

    Args:
        client: the model.
        plan: how.
        questions: what to annotate.
        wait: seconds to wait for the process of an earlier command.
        report: called as the run goes on.
        extension: how to extend them, in the place of annotating them.

    Raises:
        LPRError: what the process raised, or that it died.
    """
    work = {
        "client": client,
        "plan": asdict(plan),
        "questions": [asdict(one) for one in questions],
        "wait": wait,
        "extension": None if extension is None else asdict(extension),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "lpr_lightning.annotation.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C in a terminal, and a kill of the command's group, do not reach it
    )
    orders, news = process.stdin, process.stdout
    if orders is None or news is None:
        raise LPRError("the process that asks has no pipes")
    last: Status | None = None
    error = ""
    with orders, news:
        with contextlib.suppress(BrokenPipeError):
            orders.write(json.dumps(work) + "\n")
            orders.flush()
        for line in _until_end(news, orders, process):
            told = json.loads(line)
            if "error" in told:
                error = told["error"]
            else:
                last = Status(**told)
                report(last)
    code = process.wait()
    if error:
        raise LPRError(error)
    if code or last is None:
        how = f"signal {-code}" if code < 0 else f"code {code}"
        raise LPRError(f"the process that asks ended with {how}; the same command goes on with what it stored.")
    return last


def _until_end(news: IO[str], orders: IO[str], process: subprocess.Popen[str]) -> Iterator[str]:
    """Yield the lines of the process; an interruption closes its orders, a second one kills it."""
    interrupted = False
    while True:
        try:
            line = news.readline()
        except KeyboardInterrupt:
            if interrupted:
                process.kill()
                raise
            interrupted = True
            orders.close()
            sys.stderr.write("stopping: requests under way are answered and stored; Ctrl-C again to leave them\n")
            continue
        if not line.endswith("\n"):  # the end, or half a line of a process that was killed
            return
        yield line


def main() -> int:
    """Do the work that the standard input describes; return the exit code."""
    work = json.loads(sys.stdin.readline())
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_stop_at_end, args=(sys.stdin, stop), daemon=True).start()
    try:
        questions = [_question(row) for row in work["questions"]]
        client, plan = built_client(work["client"]), _plan(work["plan"])
        if work["extension"] is None:
            _tell(run(ConceptJob(questions, plan), questions, client, plan, stop, _tell, work["wait"]))
        else:
            from lpr_lightning.annotation.extension import Extension  # with torch
            from lpr_lightning.annotation.extension_job import ExtensionJob

            job = ExtensionJob(questions, plan, Extension(**work["extension"]))
            _tell(run(job, questions, client, plan, stop, _tell, work["wait"]))
    except LPRError as error:
        _say({"error": without_key(str(error), None)})
    except Exception:
        sys.stderr.write(_without_keys(traceback.format_exc()))
        return 1
    return 0


def _stop_at_end(orders: IO[str], stop: threading.Event) -> None:
    with contextlib.suppress(ValueError, OSError):
        orders.read()
    stop.set()


def _tell(status: Status) -> None:
    _say(asdict(status))


def _say(value: Mapping[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError, ValueError):  # the command is gone
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def built_client(described: Described) -> Client:
    """Return the client that plain values describe; whoever asks has seen to it that its package is allowed."""
    module, _, name = described["class_path"].rpartition(".")
    built: Client = vars(importlib.import_module(module))[name](**described["init_args"])
    return built


def _plan(row: dict[str, Any]) -> Plan:
    return Plan(**(row | {name: kind(**row[name]) for name, kind in _PARTS.items()}))


def _question(row: dict[str, Any]) -> Question:
    texts = {name: tuple(row[name]) for name in ("options", "steps", "concepts")}
    return Question(**(row | texts | {"pairs": tuple((step, concept) for step, concept in row["pairs"])}))


def _without_keys(text: str) -> str:
    """Return a text without the value of any environment variable that is called a key, token or secret."""
    for name, value in os.environ.items():
        if len(value) > 5 and any(word in name.upper() for word in ("KEY", "TOKEN", "SECRET")):
            text = without_key(text, value)
    return text


if __name__ == "__main__":
    sys.exit(main())
