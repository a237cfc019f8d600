"""Kill the annotation of questions at random moments, go on, and count what was paid for twice and what was lost.

    python experiments/kill_annotation.py --kills 50 --whom command
    python experiments/kill_annotation.py --kills 50 --whom worker

A scripted server on this machine answers after a random while and counts how often it answered each request. `command`
kills the process that was started (SIGKILL); the process that asks for it then ends by itself, with the requests under
way. `worker` kills that process too, as when a machine goes down: the requests under way are lost, at most one for each
of the questions that are worked on at once, and nothing that was stored may be asked again. `--whole` starts the whole
command line each time, which takes seconds, not the part of it that asks. The last printed line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lpr_lightning.annotation import Reply, Request, ScriptedServer
from lpr_lightning.annotation.demo import script_of
from lpr_lightning.annotation.work import QUESTIONS, STORE
from lpr_lightning.question_files import load_questions, save_questions
from lpr_lightning.questions import Question, Questions

WORKERS = 6
SLOW = 0.15
"""Longest time of an answer."""
DRIVER = """\
import sys
from lpr_lightning.annotation import Retries
from lpr_lightning.annotation.work import Plan
from lpr_lightning.annotation.worker import follow
from lpr_lightning.question_files import load_questions
questions, folder, url, workers = sys.argv[1:]
client = {"class_path": "lpr_lightning.annotation.endpoint.ChatEndpoint",
          "init_args": {"model": "scripted", "base_url": url, "api_key_env": None}}
plan = Plan(folder, keep=False, workers=int(workers), retries=Retries(first=0.05))
follow(client, plan, load_questions(questions).questions.questions, 30.0, lambda status: None)
"""


@dataclass
class Figures:
    """What came of it.

    Args:
        kills: how often a process was killed while requests were under way.
        requests: different requests that the annotation takes.
        answered: how many answers the server gave.
        twice: answers that it gave again.
        stored_again: requests that came again although their answer was stored.
        lost: questions that are not in the file at the end.
        most_lost: `twice` can be at most this.
    """

    kills: int
    requests: int
    answered: int
    twice: int
    stored_again: int
    lost: int
    most_lost: int


def worded(count: int) -> list[Question]:
    """Return questions whose steps and concepts are known."""
    return [
        Question(
            f"q{number}",
            f"What is {number} + {number % 7}?",
            steps=(f"Split {number} into tens and ones.", f"Add {number % 7} to the ones."),
            concepts=("Place value", "Addition within 20"),
            pairs=((0, 0), (1, 1)),
        )
        for number in range(count)
    ]


def run(kills: int, whom: str, count: int, folder: Path, seed: int = 0, whole: bool = False) -> Figures:
    """Kill an annotation again and again, then let it end.

    Args:
        kills: how often.
        whom: `command` or `worker`.
        count: questions.
        folder: an empty one.
        seed: of the moments.
        whole: start the whole command line.
    """
    draw = random.Random(seed)
    questions = worded(count)
    save_questions(folder / "input.jsonl", Questions(tuple(questions)))
    scripted, came, stored_again = script_of(questions), Counter[str](), 0

    def script(request: Request) -> Reply:
        came[json.dumps(request.messages)] += 1
        time.sleep(random.random() * SLOW)
        return scripted(request)

    done = 0
    with ScriptedServer(script) as server:
        while True:
            before, stored = Counter(came), _stored(folder / "run" / STORE)
            process = _start(folder, server.url, whole)
            share = (3 * count - len(before)) // (kills - done + 1) - WORKERS
            asked = sum(before.values()) + draw.randint(1, max(1, share))
            while process.poll() is None and (done == kills or sum(came.values()) < asked):
                time.sleep(0.002)
            if process.poll() is None:
                time.sleep(draw.random() * SLOW)
                _kill(process, whom)
                done += 1
            stored_again += sum(count for one, count in (came - before).items() if one in stored)
            if process.returncode == 0:
                break
            if process.returncode > 0:
                raise SystemExit(f"the annotation failed with code {process.returncode}")
        found = load_questions(folder / "run" / QUESTIONS).questions
        answered = sum(server.served.values())
        twice = answered - len(server.served)
        right = [one for one in found.questions if one in questions]
        most = 0 if whom == "command" else done * WORKERS
        return Figures(done, len(server.served), answered, twice, stored_again, count - len(right), most)


def _start(folder: Path, url: str, whole: bool) -> subprocess.Popen[bytes]:
    questions, place = str(folder / "input.jsonl"), str(folder / "run")
    if not whole:
        return subprocess.Popen([sys.executable, "-c", DRIVER, questions, place, url, str(WORKERS)])
    flags = {
        "questions": questions,
        "folder": place,
        "client": "ChatEndpoint",
        "client.model": "scripted",
        "client.base_url": url,
        "client.api_key_env": "null",
        "keep": "false",
        "workers": str(WORKERS),
        "retries.first": "0.05",
    }
    words = [f"--{name}={value}" for name, value in flags.items()]
    return subprocess.Popen([sys.executable, "-m", "lpr_lightning", "annotate", *words], stderr=subprocess.DEVNULL)


def _kill(process: subprocess.Popen[bytes], whom: str) -> None:
    """Kill a process, and the one that asks for it where that is wanted; as when a machine goes down."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
    for child in children if whom == "worker" else ():
        with suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.wait()


def _stored(store: Path) -> set[str]:
    """Return the conversations whose answers are stored, as the server names them."""
    if not store.is_file():
        return set()
    with closing(sqlite3.connect(store, timeout=30)) as database:
        there = database.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'answers'").fetchone()[0]
        rows = database.execute("SELECT messages FROM answers").fetchall() if there else []
    return {json.dumps([[one["role"], one["content"]] for one in json.loads(row)]) for (row,) in rows}


def main(words: list[str] | None = None) -> Figures:
    """Kill, go on, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how often")
    parser.add_argument("--whom", choices=["command", "worker"], default="command", help="which process")
    parser.add_argument("--questions", type=int, default=100, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--whole", action="store_true", help="start the whole command line each time")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        found = run(options.kills, options.whom, options.questions, Path(folder), options.seed, options.whole)
    print(json.dumps(asdict(found)))
    return found


if __name__ == "__main__":
    main()
