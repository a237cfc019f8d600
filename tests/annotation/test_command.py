"""Does `annotate` do what it says, alone and after a kill, and does the key stay where it was?"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest
from annotation_scripts import KEY, STEPS, first, questions, task, valid

from lpr_lightning.annotation import AnswerStore, Reply, Request, ScriptedServer
from lpr_lightning.annotation.concepts import Requests
from lpr_lightning.annotation.demo import script_of
from lpr_lightning.annotation.work import QUESTIONS, SET_ASIDE, STORE, Status
from lpr_lightning.cli import main
from lpr_lightning.cli.annotate import run
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import LPRError
from lpr_lightning.question_files import load_questions, save_questions
from lpr_lightning.questions import Question, Questions


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with four questions in q.jsonl."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOME_KEY", KEY)
    save_questions("q.jsonl", Questions(tuple(questions(4))))
    return tmp_path


def words(url: str, *further: str) -> list[str]:
    """Return a command line that asks a local server."""
    client = ["--client=ChatEndpoint", "--client.model=m", f"--client.base_url={url}", "--client.api_key_env=SOME_KEY"]
    quick = ["--retries.first=0.01", "--retries.longest=0.2", "--folder=out", "--workers=2"]
    return ["annotate", "--questions=q.jsonl", *client, *quick, *further]


def test_questions_are_annotated_and_read_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(first(Reply(status=429, headers={"Retry-After": "0.01"}))) as server:
        main(words(server.url, "--prices.prompt=2.5", "--prices.answer=10"))
        assert server.requests == 24
        told = capsys.readouterr().err
        assert "4 of 4 questions; 12 requests" not in told
        assert "4 of 4 questions; 24 requests (12 tried again)" in told
        found = load_questions(home / "out" / QUESTIONS)
        assert not found.counts
        assert [one.name for one in found.questions.questions] == ["0", "1", "2", "3"]
        assert found.questions[0].steps == tuple(STEPS["steps"])
        assert found.questions[0].pairs == ((0, 0), (1, 1))
        line = json.loads((home / "out" / QUESTIONS).read_text(encoding="utf-8").splitlines()[0])
        assert line["reasons"] == ["The ones are added first.", "A ten is carried."]

        main(words(server.url))
        assert server.requests == 24
        assert "0 requests, 12 answers found in the store" in capsys.readouterr().err


def test_what_is_not_valid_is_set_aside_with_its_reason(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def script(request: Request) -> Reply:
        out = task(request) == "pairs" and "What is 2 +" in request.messages[1].content
        return Reply('{"pairs": [[3, 1]]}') if out else valid(request)

    with ScriptedServer(script) as server:
        main(words(server.url))
    told = capsys.readouterr().err
    assert "3 of 4 questions, 1 set aside" in told
    assert "pair [3, 1] names step 3, but steps go from 1 to 2" in told
    (aside,) = (home / "out" / SET_ASIDE).read_text(encoding="utf-8").splitlines()
    assert json.loads(aside)["name"] == "2"
    assert json.loads(aside)["request"] == "mapping"
    assert len(load_questions(home / "out" / QUESTIONS).questions) == 3


def test_a_dry_run_says_the_cost_and_sends_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = ["--prices.prompt=2.5", "--prices.answer=10"]
    with ScriptedServer(valid) as server:
        monkeypatch.delenv("SOME_KEY")  # no key is needed for it
        before = run(words(server.url, "--dry_run", *prices))
        assert server.requests == 0
        assert not (home / "out").exists()
        assert "m: 12 requests to send" in capsys.readouterr().err
        monkeypatch.setenv("SOME_KEY", KEY)
        main(words(server.url, "--limits.questions=1"))
        after = run(words(server.url, "--dry_run", *prices))
        assert server.requests == 3
    assert "m: 9 requests to send" in capsys.readouterr().err
    assert isinstance(before, Requests)
    assert isinstance(after, Requests)
    assert (before.requests, after.requests) == (12, 9)
    with AnswerStore(home / "out" / STORE) as store:
        took = store.paid().tokens
    guessed = sum(after[1:]) / 3  # of one question, with answers as long as those in the store
    assert 0.8 * took < guessed < 1.2 * took


def test_a_budget_stops_cleanly_and_a_greater_one_goes_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(valid) as server:
        main(words(server.url, "--limits.tokens=3000", "--workers=1"))
        told = capsys.readouterr().err
        assert "the budget of 3000 tokens is spent" in told
        assert "the same command goes on" in told
        done = len((home / "out" / QUESTIONS).read_text(encoding="utf-8").splitlines())
        assert 0 < done < 4
        main(words(server.url, "--limits.tokens=30000"))
        assert server.requests == 12
        assert set(server.served.values()) == {1}
    assert len(load_questions(home / "out" / QUESTIONS).questions) == 4


def test_the_key_is_nowhere(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither in a file, nor in what is printed, however the endpoint fails and whatever it says."""
    said: list[str] = []
    leaks = [Reply(f"bad key {KEY}", status=500), Reply(f"key {KEY}", status=400), Reply(f"your key {KEY}", status=401)]
    for leak, further in zip(leaks, ([], [], ["--traceback"])):

        def script(request: Request, leak: Reply = leak) -> Reply:
            return leak if request.number or task(request) == "pairs" else valid(request)

        with ScriptedServer(script) as server:
            try:
                main([*words(server.url, "--retries.tries=2", "--retries.in_a_row=2"), *further])
            except (SystemExit, LPRError) as error:
                said.append(str(error))
    for wrong in (KEY, f"{KEY} "):
        with pytest.raises(SystemExit):
            main(words("http://127.0.0.1:9/v1", f"--client.api_key_env={wrong}"))
    told = capfd.readouterr()
    assert "status 401" in "".join(said)
    assert "status 400" in told.err
    assert "expected the name of an environment variable" in told.err
    assert KEY not in told.out + told.err + "".join(said)
    written = [path for path in home.rglob("*") if path.is_file()]
    assert {"answers.db", QUESTIONS, SET_ASIDE} <= {path.name for path in written}
    assert [path.name for path in written if KEY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("further", "told"),
    [
        (["--client=null"], "Give --client ChatEndpoint"),
        (["--questions=null"], "Give --questions FILE.jsonl"),
        (["--questions=none.jsonl"], "none.jsonl was not found"),
        (["--worker=2"], "Did you mean --workers?"),
        (["--workers=0"], "workers=0 cannot be used"),
        (["--limits.money=1"], "Give price_prompt and price_answer"),
        (["--client.api_key_env=NOT_SET_HERE"], "export NOT_SET_HERE=..."),
        (["--client.base_url=localhost"], "http://localhost:8000/v1"),
        (["--templates.folder=none"], "copy_templates"),
        (["--client=evil.Client"], "--allow_package evil"),
        (["--demo"], "questions whose steps, concepts and pairs are known"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    home: Path, further: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words("http://127.0.0.1:9/v1", *further))
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert told in error


def test_templates_can_be_copied_and_edited(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["annotate", "--copy_templates", "mine"])
    path = home / "mine" / "steps.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("You solve", "You, patient, solve"), encoding="utf-8")
    seen: list[str] = []

    def script(request: Request) -> Reply:
        seen.append(request.messages[0].content)
        return valid(request)

    with ScriptedServer(script) as server:
        main(words(server.url, "--templates.folder=mine", "--templates.language=Welsh", "--limits.questions=1"))
    assert seen[0].startswith("You, patient, solve")
    assert "Write in Welsh." in seen[0]


def worded(count: int) -> tuple[Question, ...]:
    """Return questions that the scripted server can answer."""
    texts = [f"What is {number} + 5?" for number in range(count)]
    return tuple(Question(one, one, steps=("Add.",), concepts=("Addition",), pairs=((0, 0),)) for one in texts)


def test_the_demo_asks_a_server_of_its_own(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_questions("q.jsonl", Questions(worded(12)))
    main(["annotate", "--questions=q.jsonl", "--demo", "--folder=out"])
    assert "nothing leaves this machine" in capsys.readouterr().err
    found = load_questions(home / "out" / "demo" / QUESTIONS).questions
    assert found.questions == worded(12)


@pytest.fixture
def killing(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that kills annotations."""
    spec = importlib.util.spec_from_file_location("kill_annotation", project / "experiments" / "kill_annotation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kill_annotation", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.timeout(120)
def test_a_killed_command_loses_nothing_and_pays_nothing_twice(killing: ModuleType, tmp_path: Path) -> None:
    found = killing.run(kills=3, whom="command", count=24, folder=tmp_path)
    assert found.kills >= 1
    assert found.answered == found.requests
    assert (found.twice, found.lost) == (0, 0)


@pytest.mark.timeout(120)
def test_with_the_asking_process_killed_too_what_is_stored_is_not_asked_again(
    killing: ModuleType, tmp_path: Path
) -> None:
    found = killing.run(kills=3, whom="worker", count=24, folder=tmp_path)
    assert found.kills >= 1
    assert (found.stored_again, found.lost) == (0, 0)
    assert found.twice <= found.most_lost


@pytest.mark.timeout(60)
def test_an_interruption_ends_with_the_requests_under_way(home: Path, killing: ModuleType) -> None:
    come = threading.Event()
    go_on = threading.Event()

    def script(request: Request) -> Reply:
        come.set()
        go_on.wait(20)
        return valid(request)

    with ScriptedServer(script) as server:
        command = [sys.executable, "-c", killing.DRIVER, "q.jsonl", "out", server.url, "2"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert come.wait(40)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        go_on.set()
        told = process.communicate(timeout=30)[1]
    assert told == "stopping: requests under way are answered and stored; Ctrl-C again to leave them\n"
    with AnswerStore(home / "out" / STORE) as store:
        assert store.lost == 0
        assert store.paid().requests == sum(server.served.values()) == server.requests > 0


def test_the_demo_answers_only_what_it_knows() -> None:
    with pytest.raises(LPRError, match="lacks them"):
        script_of(questions(1))


@pytest.mark.timeout(180)
def test_the_configuration_runs_as_it_stands(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    status = run(["annotate", "--config", str(project / "configs" / "annotate.yaml")])
    assert isinstance(status, Status)
    assert (status.done, status.total, status.set_aside, status.stopped) == (50, 50, {}, "")
    assert status.counts["not valid"] > 0
    assert status.counts["status 429"] > 0
    found = load_questions(tmp_path / "logs" / "annotate" / "demo" / QUESTIONS).questions
    data = SyntheticLearners(num_concepts=10, num_learners=20)
    assert found.questions == data.questions.questions
    laid_over = SyntheticLearners(
        num_concepts=10, num_learners=20, questions_file=str(tmp_path / "logs" / "annotate" / "demo" / QUESTIONS)
    )
    assert laid_over.questions.questions == data.questions.questions
