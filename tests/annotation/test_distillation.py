"""The whole distillation against a scripted local server: relations, labels, and a fit that uses both."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lpr_lightning.annotation import InvalidAnswerError, Reply, Request, ScriptedServer
from lpr_lightning.annotation.chat import Answer, Token
from lpr_lightning.annotation.distillation import level_shares, parse_levels, parse_prerequisites
from lpr_lightning.cli import main
from lpr_lightning.distilled_files import load_concept_relations, load_mastery_labels
from lpr_lightning.draws import Draws
from lpr_lightning.functional.prefix_sample import concepts_to_judge, sampled_moments
from lpr_lightning.hparams import load_module
from lpr_lightning.models.ldsim import LDSim
from lpr_lightning.types import Interactions

LEARNERS = ["--data.num_learners=40", "--data.num_concepts=6"]


@pytest.fixture
def script(project: Path) -> ModuleType:
    path = project / "experiments" / "distil_labels.py"
    spec = importlib.util.spec_from_file_location("distil_labels", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["distil_labels"] = module
    spec.loader.exec_module(module)
    return module


def teacher(request: Request, sure: bool) -> Reply:
    """Answer that every concept builds on the one before, and mastery as the last answer on a concept says."""
    user = request.messages[1].content
    if request.number == 0 and len(user) % 7 == 0:
        return Reply("busy", status=429, headers={"Retry-After": "0.01"})
    if user.startswith("Concept: "):
        name = user.splitlines()[0].removeprefix("Concept: ")
        names = [line.partition(". ")[2] for line in user.splitlines()[3:]]
        before = names.index(name)
        return Reply(json.dumps({"prerequisites": [{"number": before, "confidence": 0.9}] if before else []}))
    records, _, rest = user.partition("\n\nPrerequisites:\n")
    asked = [line.partition(". ")[2] for line in rest.partition("Concepts to judge:\n")[2].splitlines()]
    last = dict(re.findall(r"\d+\. (.*): (right|wrong)", records))
    levels = [{"right": 4, "wrong": 1, None: 2}[last.get(name)] for name in asked]
    other = [((str(one), math.log(0.8)), (str(one - 1), math.log(0.2))) for one in levels]
    comma = ((", ", 0.0),)
    tokens = [(('{"levels": [', 0.0),), *(part for one in other for part in (one, comma))][:-1]
    return Reply(json.dumps({"levels": levels}), alternatives=(*tokens, (("]}", 0.0),)) if sure else ())


@pytest.mark.parametrize("sure", [True, False])
def test_what_a_model_says_is_asked_once_and_trains_ldsim(
    sure: bool, script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "labels"
    words = [*LEARNERS, "--out", str(out), "--model", "scripted", "--prefixes", "12", "--concepts", "4"]
    script.main([*words, "--dry_run"])
    assert "6 requests for prerequisites, 12 for mastery" in capsys.readouterr().out
    with ScriptedServer(lambda request: teacher(request, sure)) as server:
        script.main([*words, "--base_url", server.url])
        asked = server.requests
        assert sum(server.served.values()) == 6 + (12 if sure else 36)
        script.main([*words, "--base_url", server.url])
        assert server.requests == asked  # nothing is paid for twice
    rows = [json.loads(line) for line in (out / "labels.jsonl").read_text().splitlines()]
    assert len(rows) == 48
    for row in rows:
        shares = [row[f"level_{level}"] for level in range(5)]
        assert shares.index(max(shares)) in (1, 2, 4)
        assert max(shares) == pytest.approx(0.8 if sure else 1.0)
    assert len((out / "prerequisites.jsonl").read_text().splitlines()) == 5
    config = Path(script.__file__ or "").parents[1] / "configs" / "ldsim.yaml"
    files = [f"--model.graph={out / 'prerequisites.jsonl'}", f"--model.labels={out / 'labels.jsonl'}"]
    short = ["--trainer.max_epochs=2", "--model.warm_up_epochs=1", "--trainer.callbacks=[]", "--test_after_fit=false"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1"]
    split = ["--data.split=[0.7,0.1,0.2]", "--data.seed=0", f"--trainer.default_root_dir={tmp_path}"]
    main(["fit", "--config", str(config), *LEARNERS, *files, *short, *quiet, *split])
    checkpoint = next(tmp_path.rglob("last*.ckpt"), None) or next(tmp_path.rglob("*.ckpt"))
    tracer = load_module(checkpoint)
    assert isinstance(tracer, LDSim)
    weight = tracer.net.read.graph.weight
    assert weight.nonzero().tolist() == [[needing, needing - 1] for needing in range(1, 6)]
    assert float(weight[1, 0]) == pytest.approx(0.9)
    figures = next(tmp_path.rglob("metrics.csv")).read_text()
    assert "train/loss_reasoning" in figures.splitlines()[0]


def test_shares_are_taken_from_tokens_that_are_levels_only() -> None:
    text = '{"levels": [3, 0]}'
    three = Token("3", math.log(0.5), (("3", math.log(0.5)), (" 2", math.log(0.25)), ("none", math.log(0.25))))
    zero = Token(" 0]", math.log(1.0))
    answer = Answer(text, 1, 1, tokens=(Token('{"levels": [', 0.0), three, Token(",", 0.0), zero, Token("}", 0.0)))
    shares = level_shares(answer, (3, 0))
    assert shares is not None
    assert shares[0] == pytest.approx((0, 0, 1 / 3, 2 / 3, 0))
    assert shares[1] == pytest.approx((1, 0, 0, 0, 0))
    assert level_shares(Answer(text, 1, 1), (3, 0)) is None
    assert level_shares(Answer(text, 1, 1, tokens=(Token("3, 0", 0.0),)), (3, 0)) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prerequisites": 3}', "no list"),
        ('{"prerequisites": [{"number": 9, "confidence": 1}]}', "from 1 to 3"),
        ('{"prerequisites": [{"number": 2, "confidence": 1.5}]}', "0 to 1"),
        ('{"prerequisites": [{"number": 1, "confidence": 1}]}', "asked about"),
        ('{"prerequisites": [{"number": 2, "confidence": 1}, {"number": 2, "confidence": 1}]}', "twice"),
    ],
)
def test_prerequisites_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidAnswerError, match=message):
        parse_prerequisites(Answer(text, 1, 1), 0, 3)


@pytest.mark.parametrize("text", ['{"levels": [1]}', '{"levels": [1, 5]}', '{"levels": [1, true]}', "levels", "{}"])
def test_levels_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidAnswerError):
        parse_levels(Answer(text, 1, 1), 2)


def test_moments_take_as_many_learners_as_there_are() -> None:
    log = Interactions.from_lists([[(0, 1)] * n for n in (9, 2, 20, 7)])
    place, step = sampled_moments(log, 3, seed=1)
    assert sorted(place.tolist()) == [0, 2, 3]
    assert bool(((step >= 5) & (step < log.lengths[place])).all())
    assert len(sampled_moments(log.select(torch.tensor([1])), 3, seed=1)[0]) == 0


def test_concepts_to_judge_are_half_practised_and_none_twice() -> None:
    practised = torch.tensor([[5, 0, 4, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8]])
    related = torch.zeros(8, 8, dtype=torch.bool)
    related[6, 0] = True
    found = concepts_to_judge(practised, related, 4, Draws.of(0, 0, torch.arange(3)))
    assert all(len(set(row)) == 4 for row in found.tolist())
    assert found[0, :3].tolist() == [0, 2, 6]
    assert found[2, :2].tolist() == [7, 6]


def test_files_of_the_jobs_are_those_that_ldsim_reads(tmp_path: Path) -> None:
    (tmp_path / "prerequisites.jsonl").write_text('{"needed": "a", "needing": "b", "confidence": 0.75}\n')
    assert load_concept_relations(tmp_path / "prerequisites.jsonl", {"a": 0, "b": 1}, 2)[1, 0] == 0.75
    levels = {f"level_{level}": float(level == 4) for level in range(5)}
    (tmp_path / "labels.jsonl").write_text(json.dumps({"learner": 3, "step": 2, "concept": "a"} | levels) + "\n")
    labels = load_mastery_labels(tmp_path / "labels.jsonl", {"a": 0})
    assert (float(labels.mastery), float(labels.confidence)) == (1.0, 1.0)
