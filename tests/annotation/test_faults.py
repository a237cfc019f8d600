"""Does every question end annotated or set aside with its reason, whatever the endpoint does?"""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest
from annotation_scripts import CONCEPTS, KEY, STEPS, asker, first, questions, task, valid

from lpr_lightning.annotation import (
    Annotated,
    AnswerStore,
    ChatEndpoint,
    ConceptAnnotation,
    EndpointError,
    Message,
    Outcome,
    Prompt,
    Reply,
    Request,
    RetryableError,
    ScriptedServer,
    Templates,
    run_all,
)
from lpr_lightning.annotation.asker import Asker
from lpr_lightning.annotation.scripted_server import Script

FAULTS = {
    "too many": Reply(status=429, headers={"Retry-After": "0.05"}),
    "too many, with a date": Reply(status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "server error": Reply(status=500),
    "overloaded": Reply(status=503),
    "cut connection": Reply('{"steps": []}', cut=True),
    "no JSON": Reply(raw="<html>busy</html>"),
    "no choices": Reply(raw='{"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": []}'),
    "another object": Reply(raw="[1]"),
}
INVALID = {
    "no JSON": Reply("Sure! Here are the steps."),
    "a list": Reply("[1, 2]"),
    "cut off": Reply('{"steps": ["a"', finish="length"),
    "nothing": Reply(""),
    "an empty list": Reply('{"steps": [], "concepts": [], "pairs": []}'),
    "numbers for texts": Reply('{"steps": [1], "concepts": [1], "pairs": [1]}'),
    "empty texts": Reply('{"steps": [" "], "concepts": [{"reason": "", "name": "x"}], "pairs": [[1, 1], [1, 1]]}'),
}


def annotated(script: Script, store: Path, count: int = 3, workers: int = 2) -> tuple[Outcome[Annotated], Asker, int]:
    """Annotate questions by a scripted server; return what became of them, who asked, and how often it was asked."""
    with ScriptedServer(script) as server, AnswerStore(store) as answers:
        one = asker(server.url, answers)
        outcome = run_all(questions(count), ConceptAnnotation(one, Templates()), workers)
        return outcome, one, server.requests


def test_three_requests_a_question(tmp_path: Path) -> None:
    outcome, one, requests = annotated(valid, tmp_path / "a.db")
    assert requests == one.counts["requests"] == 9
    assert not outcome.set_aside
    assert not outcome.stopped
    for place, question in enumerate(questions(3)):
        found = outcome.results[place]
        assert found.question.text == question.text
        assert found.question.steps == tuple(STEPS["steps"])
        assert found.question.concepts == ("Addition within 20", "Place value")
        assert found.question.pairs == ((0, 0), (1, 1))
        assert found.reasons == tuple(one["reason"] for one in CONCEPTS["concepts"])


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_tried_again(fault: Reply, tmp_path: Path) -> None:
    outcome, one, requests = annotated(first(fault, fault), tmp_path / "a.db")
    assert len(outcome.results) == 3
    assert requests == 27
    assert sum(count for reason, count in one.counts.items() if reason not in ("requests", "stored")) == 18


def test_a_hanging_server_is_tried_again(tmp_path: Path) -> None:
    with ScriptedServer(first(Reply(delay=2.0))) as server, AnswerStore(tmp_path / "a.db") as store:
        one = asker(server.url, store, timeout=0.4)
        outcome = run_all(questions(2), ConceptAnnotation(one, Templates()), 2)
        assert len(outcome.results) == 2
        assert one.counts["timeout"] == 6
        lost = store.paid().tokens - sum(answer_tokens(store))
        assert lost > 0  # what a lost request may have cost counts


def answer_tokens(store: AnswerStore) -> list[int]:
    """Return the tokens of each stored answer."""
    rows = store._database.execute("SELECT prompt_tokens + answer_tokens FROM answers").fetchall()
    return [int(one) for (one,) in rows]


def test_everyone_waits_when_the_endpoint_says_how_long(tmp_path: Path) -> None:
    came: list[float] = []

    def script(request: Request) -> Reply:
        came.append(time.monotonic())
        return Reply(status=429, headers={"Retry-After": "0.4"}) if len(came) == 1 else valid(request)

    outcome, _, _ = annotated(script, tmp_path / "a.db", workers=1)
    assert len(outcome.results) == 3
    assert came[1] - came[0] >= 0.39


@pytest.mark.parametrize("answer", INVALID.values(), ids=INVALID)
def test_an_answer_that_is_not_valid_is_asked_again_with_the_error(answer: Reply, tmp_path: Path) -> None:
    seen: list[tuple[Message, ...]] = []

    def script(request: Request) -> Reply:
        seen.append(request.messages)
        return answer if len(request.messages) == 2 else valid(request)

    outcome, one, requests = annotated(script, tmp_path / "a.db", count=1)
    assert len(outcome.results) == 1
    assert requests == 6
    assert one.counts["not valid"] == 3
    for again in seen[1::2]:
        assert again[2] == Message("assistant", answer.text)
        assert again[3].content.startswith("This answer cannot be used: ")


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ("[[1, 1]]", "step 2 is in no pair"),
        ("[[1, 1], [2, 1]]", "concept 2 is in no pair"),
        ("[[0, 1], [1, 2], [2, 1]]", "names step 0, but steps go from 1 to 2"),
        ("[[1, 1], [2, 2], [2, 3]]", "names concept 3, but concepts go from 1 to 2"),
        ("[[1, 1], [2, 2], [1, 1]]", "is there twice"),
        ("[[1.0, 1], [2, 2]]", "is no pair of two whole numbers"),
        ("[[true, 1], [2, 2]]", "is no pair of two whole numbers"),
        ('"1-1, 2-2"', 'the object has no list "pairs"'),
    ],
)
def test_pairs_that_never_fit_set_the_question_aside_with_the_reason(pairs: str, reason: str, tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        return Reply(f'{{"pairs": {pairs}}}') if task(request) == "pairs" else valid(request)

    outcome, _, requests = annotated(script, tmp_path / "a.db", count=1)
    assert not outcome.results
    assert reason in outcome.set_aside[0].reason
    assert outcome.set_aside[0].task == "mapping"
    assert requests == 2 + 3

    outcome, _, requests = annotated(script, tmp_path / "a.db", count=1)  # told from the store, not asked again
    assert reason in outcome.set_aside[0].reason
    assert requests == 0


def test_two_concepts_of_one_name_are_not_valid(tmp_path: Path) -> None:
    twice = Reply('{"concepts": [{"reason": "a", "name": "Sum"}, {"reason": "b", "name": "sum "}]}')
    outcome, one, _ = annotated(
        lambda request: twice if task(request) == "concepts" and len(request.messages) == 2 else valid(request),
        tmp_path / "a.db",
        count=1,
    )
    assert outcome.results
    assert one.counts["not valid"] == 1


def test_a_refused_question_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        return Reply("too long", status=400) if "What is 1 +" in request.messages[1].content else valid(request)

    outcome, _, _ = annotated(script, tmp_path / "a.db")
    assert sorted(outcome.results) == [0, 2]
    assert outcome.set_aside[1].reason == "status 400, too long"


def test_an_endpoint_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with ScriptedServer(lambda request: Reply(status=500)) as server, AnswerStore(tmp_path / "a.db") as store:
        one = asker(server.url, store, tries=2, in_a_row=3)
        with pytest.raises(EndpointError, match="3 requests in a row failed 2 times each, with status 500"):
            run_all(questions(50), ConceptAnnotation(one, Templates()), 1)
        assert server.requests == 6
        assert not one.client.model.startswith("http")


def test_nobody_there(tmp_path: Path) -> None:
    with ScriptedServer(valid) as server:
        url = server.url
    with AnswerStore(tmp_path / "a.db") as store:
        one = asker(url, store, tries=2, in_a_row=1)
        with pytest.raises(EndpointError, match="connection lost"):
            run_all(questions(1), ConceptAnnotation(one, Templates()), 1)
        assert store.paid() == (0, 0, 0.0)  # nothing was sent, so nothing can have been charged


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_status_that_no_request_gets_over_stops_at_once(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    with ScriptedServer(lambda request: Reply(f"Incorrect API key provided: {KEY}", status=status)) as server:
        client = ChatEndpoint("m", server.url, "SOME_KEY")
        with AnswerStore(tmp_path / "a.db") as store, pytest.raises(EndpointError) as caught:
            run_all(questions(9), ConceptAnnotation(Asker(client, store), Templates()), 1)
        assert server.requests == 1
    assert "[key]" in str(caught.value)
    assert KEY not in str(caught.value)
    assert "To mend it: check" in str(caught.value)


def test_token_probabilities_and_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    seen: list[Request] = []

    def script(request: Request) -> Reply:
        seen.append(request)
        return Reply("3", alternatives=((("3", -0.2), ("2", -1.9)),))

    with ScriptedServer(script) as server:
        client = ChatEndpoint("m", server.url, "SOME_KEY", request={"max_tokens": None, "max_completion_tokens": 9})
        answer = client.ask(Prompt((Message("user", "level?"),), json=False, alternatives=2))
    assert answer.tokens[0].text == "3"
    assert answer.tokens[0].alternatives == (("3", -0.2), ("2", -1.9))
    body = seen[0].body
    assert {"max_completion_tokens": 9, "logprobs": True, "top_logprobs": 2, "model": "m"}.items() <= body.items()
    assert not {"max_tokens", "response_format"} & body.keys()
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert client.model.startswith("m#")  # other fields, other answers


def test_a_refusal_of_the_model_is_told(tmp_path: Path) -> None:
    choice = '{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": null, "refusal": "no"}}'
    raw = f'{{"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [{choice}]}}'
    outcome, _, _ = annotated(lambda request: Reply(raw=raw), tmp_path / "a.db", count=1)
    assert outcome.set_aside[0].reason == "the model refused: no"


def test_a_client_is_in_no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    client = ChatEndpoint("m", "http://127.0.0.1:9/v1", "SOME_KEY")
    assert KEY not in repr(client)
    with pytest.raises(TypeError, match="its key would be in the file"):
        pickle.dumps({"callback": client})


def test_a_client_makes_one_try() -> None:
    with ScriptedServer(lambda request: Reply(status=429, headers={"Retry-After": "7"})) as server:
        with pytest.raises(RetryableError) as caught:
            ChatEndpoint("m", server.url, None).ask(Prompt((Message("user", "?"),)))
        assert server.requests == 1
    assert caught.value.wait == 7.0
    assert not caught.value.charged


def test_what_a_question_has_is_kept(tmp_path: Path) -> None:
    from dataclasses import replace

    given = replace(questions(1)[0], steps=("Mine.", "And mine."), concepts=("Sums", "Tens"))
    with ScriptedServer(valid) as server, AnswerStore(tmp_path / "a.db") as store:
        one = asker(server.url, store)
        found = ConceptAnnotation(one, Templates())(given)
        assert found.question == replace(given, pairs=((0, 0), (1, 1)))
        assert server.requests == 1
        whole = replace(given, pairs=((0, 1), (1, 0)))
        assert ConceptAnnotation(one, Templates())(whole).question == whole
        assert server.requests == 1
        assert ConceptAnnotation(one, Templates(), keep=False)(whole).question.steps == tuple(STEPS["steps"])
        assert server.requests == 4
