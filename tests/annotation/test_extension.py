"""Are new questions new, annotated like the old ones, and asked for once?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from annotation_scripts import STEPS, asker, questions, valid
from transformers import BertConfig, BertModel, BertTokenizerFast

from lpr_lightning.annotation import (
    AnswerStore,
    Asker,
    ChatEndpoint,
    ConceptAnnotation,
    Reply,
    Request,
    ScriptedServer,
    Templates,
)
from lpr_lightning.annotation.extension import Extension, QuestionExtension
from lpr_lightning.annotation.extension_job import EXTENDED, ExtensionJob
from lpr_lightning.annotation.similarity import EncoderVectors, LetterVectors, nearest
from lpr_lightning.annotation.work import SET_ASIDE, Plan, run, still_to_ask
from lpr_lightning.errors import SettingError
from lpr_lightning.question_files import load_questions
from lpr_lightning.questions import Question

SITUATIONS = (
    "A baker packs eggs into boxes of six. How many boxes does a morning's work fill?",
    "Which month had more rain, if each column of the chart stands for ten millimetres?",
    "Two trains leave at noon in opposite directions. When are they an hour apart?",
)


def old(count: int) -> list[Question]:
    """Return annotated questions."""
    steps, pairs = tuple(STEPS["steps"]), ((0, 0), (1, 1))
    return [replace(one, steps=steps, concepts=("Sums", "Tens"), pairs=pairs) for one in questions(count)]


def new(text: str) -> Reply:
    """Return an answer with a new question."""
    return Reply(json.dumps({"question": text, "answer": "12", "change": "another situation"}))


def is_extension(request: Request) -> bool:
    """Return whether a new question is asked for."""
    return '{"question"' in request.messages[0].content


def varied(request: Request) -> Reply:
    """Write another new question for each one that is listed, of other words for each old one."""
    if not is_extension(request):
        return valid(request)
    user = request.messages[1].content
    number = user.partition("What is ")[2].partition(" ")[0]
    listed = sum(one[:20] in user for one in SITUATIONS)
    return new(f"{SITUATIONS[listed]} {['Seven', 'Albatross', 'Quince', 'Oxbow', 'Violin'][int(number)] * 9}")


def test_new_questions_are_annotated_and_name_their_source(tmp_path: Path) -> None:
    plan = Plan(str(tmp_path), workers=2)
    with ScriptedServer(varied) as server:
        for requests in (24, 24):  # the second time from the store
            status = run(ExtensionJob(old(2), plan, Extension()), old(2), client_of(server.url), plan)
            assert server.requests == requests
            assert (status.done, status.total, status.set_aside) == (6, 6, {})
    found = load_questions(tmp_path / EXTENDED).questions
    assert [one.name for one in found.questions] == ["0#1", "0#2", "0#3", "1#1", "1#2", "1#3"]
    assert all(one.steps == tuple(STEPS["steps"]) and one.pairs == ((0, 0), (1, 1)) for one in found.questions)
    assert len({one.text for one in found.questions}) == 6
    line = json.loads((tmp_path / EXTENDED).read_text(encoding="utf-8").splitlines()[4])
    assert (line["source"], line["change"], line["answer"]) == ("1", "another situation", "12")
    assert len(line["reasons"]) == 2


def client_of(url: str) -> ChatEndpoint:
    """Return a client of a local server."""
    return ChatEndpoint("scripted", url, api_key_env=None)


def test_a_copy_is_asked_again_and_then_set_aside(tmp_path: Path) -> None:
    asked: list[str] = []

    def script(request: Request) -> Reply:
        if not is_extension(request):
            return valid(request)
        asked.append(request.messages[-1].content)
        return new("what is 0 + 5")

    with ScriptedServer(script) as server, AnswerStore(tmp_path / "a.db") as store:
        annotation = ConceptAnnotation(asker(server.url, store), Templates())
        found = QuestionExtension(annotation, Extension(per_question=1), old(1))(old(1)[0])
        assert not found.new
        assert "nearly the same as question '0'" in found.set_aside["0#1"].reason
        assert server.requests == 3
        assert "nearly the same as question '0'" in asked[1]


def test_one_like_an_earlier_one_of_the_same_question_is_refused(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        return new(SITUATIONS[0]) if is_extension(request) else valid(request)

    with ScriptedServer(script) as server, AnswerStore(tmp_path / "a.db") as store:
        annotation = ConceptAnnotation(asker(server.url, store), Templates())
        found = QuestionExtension(annotation, Extension(per_question=2), old(1))(old(1)[0])
    assert [one.annotated.question.name for one in found.new] == ["0#1"]
    assert "nearly the same as question '0#1'" in found.set_aside["0#2"].reason


def test_one_like_another_old_questions_new_one_is_dropped_at_the_end(tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        return new(SITUATIONS[0]) if is_extension(request) else valid(request)

    plan = Plan(str(tmp_path), workers=2)
    with ScriptedServer(script) as server:
        status = run(ExtensionJob(old(3), plan, Extension(1)), old(3), client_of(server.url), plan)
    assert status.done == 1
    assert status.set_aside == {"extend: it is like '0#1' (1.00)": 2}
    aside = [json.loads(line)["name"] for line in (tmp_path / SET_ASIDE).read_text(encoding="utf-8").splitlines()]
    assert aside == ["1#1", "2#1"]


@pytest.mark.parametrize(
    "answer", ['{"question": "x", "answer": "y"}', '{"question": " ", "answer": "", "change": ""}', "x"]
)
def test_an_answer_without_its_fields_is_asked_again(answer: str, tmp_path: Path) -> None:
    def script(request: Request) -> Reply:
        return Reply(answer) if is_extension(request) and len(request.messages) == 2 else varied(request)

    with ScriptedServer(script) as server, AnswerStore(tmp_path / "a.db") as store:
        one = asker(server.url, store)
        found = QuestionExtension(ConceptAnnotation(one, Templates()), Extension(1), old(1))(old(1)[0])
    assert len(found.new) == 1
    assert one.counts["not valid"] == 1


def test_what_is_still_to_ask(tmp_path: Path) -> None:
    plan = Plan(str(tmp_path), workers=1)
    job = ExtensionJob(old(2), plan, Extension())
    with ScriptedServer(varied) as server:
        client = client_of(server.url)
        assert still_to_ask(job.still_to_ask, old(2), client, plan).requests == 24
        limited = Plan(str(tmp_path), workers=1)
        run(ExtensionJob(old(1), limited, Extension()), old(1), client, limited)
        assert server.requests == 12
        assert still_to_ask(ExtensionJob(old(2), plan, Extension()).still_to_ask, old(2), client, plan).requests == 12
        assert server.requests == 12


def test_questions_without_annotations_are_refused(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "a.db") as store:
        annotation = ConceptAnnotation(Asker(client_of("http://127.0.0.1:9/v1"), store), Templates())
        with pytest.raises(SettingError, match="Annotate them first"):
            QuestionExtension(annotation, Extension(), questions(1))
    with pytest.raises(SettingError, match="per_question"):
        Extension(0)
    with pytest.raises(SettingError, match="alike"):
        Extension(alike=1.5)


def test_nearest_is_the_greatest_cosine() -> None:
    vectors = LetterVectors()(["How many eggs fill a box?", "Where is Paris?"])
    known = LetterVectors()(["Where is Paris", "how many eggs fill the box", ""])
    share, place = nearest(vectors, known)
    assert place.tolist() == [1, 0]
    assert share.tolist() == pytest.approx((vectors @ known.T).max(1).values.tolist())
    assert torch.equal(known[2], torch.zeros(4096))


def test_an_encoder_measures_too(tmp_path: Path) -> None:
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *["how", "many", "eggs", "fill", "a", "box", "where", "is", "paris"],
    ]
    BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}).save_pretrained(tmp_path)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    BertModel(BertConfig(vocab_size=len(words), **sizes), add_pooling_layer=False).save_pretrained(tmp_path)
    vectors = EncoderVectors(str(tmp_path))(["how many eggs", "where is paris", "How many eggs"])
    assert vectors.norm(dim=1).tolist() == pytest.approx([1, 1, 1])
    share, place = nearest(vectors[2:], vectors[:2])
    assert float(share) == pytest.approx(1.0)
    assert int(place) == 0
    assert float(vectors[0] @ vectors[1]) < 0.999
