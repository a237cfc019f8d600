"""A tracer, a goal, a policy and a method that are not ours go through the command line like ours."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lpr_lightning import DKT, KESSimulator, PathRequests, QuestionActions, SyntheticLearners
from lpr_lightning.cli import main

TOYS = Path(__file__).resolve().parent
GOALS = "learner,targets,length\nAda,Fractions 1;Fractions 2,3\nBen,Equations 1,2\n"
HISTORIES = "learner,concept,correct\nAda,Fractions 1,1\nAda,Fractions 2,0\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(TOYS.parent))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "goals.csv").write_text(GOALS)
    (tmp_path / "histories.csv").write_text(HISTORIES)
    return tmp_path


def run(subcommand: str, config: str, *flags: str) -> None:
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    main([subcommand, "--config", str(TOYS / config), "--allow_package", "toys", *quiet, *flags])


def predictions(folder: Path, name: str, run_name: str) -> list[dict[str, str]]:
    newest = max((folder / "logs" / run_name).glob(f"*/{name}"), key=lambda path: path.stat().st_mtime_ns)
    with newest.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_tracer_trains_evaluates_and_predicts(folder: Path) -> None:
    writer = ["--trainer.callbacks", "MasteryWriter"]
    run("fit", "tracer.yaml", *writer)
    figures = json.loads((folder / "logs/tracer/version_0/metrics.json").read_text())
    assert 0.5 < figures["test/auc"] < 1
    asked = ["--data.predict_goals", "goals.csv", "--data.predict_histories", "histories.csv"]
    run("predict", "tracer.yaml", *writer, "--ckpt_path", "best", *asked)
    rows = predictions(folder, "mastery.csv", "tracer")
    assert {row["learner"] for row in rows} == {"Ada", "Ben"}


@pytest.mark.parametrize("actions", ["ConceptActions", "QuestionActions"])
def test_a_method_over_a_goal_a_policy_and_a_tracer(folder: Path, actions: str) -> None:
    flags = ["--model.simulator.init_args.actions", actions]
    run("fit", "method.yaml", *flags)
    figures = json.loads((folder / "logs/method/version_0/metrics.json").read_text())
    wanted = ["learning_effect", "soft_gain", "true_learning_effect", "until_right/learning_effect"]
    assert {f"test/{name}" for name in [*wanted, "until_right/true_learning_effect"]} <= set(figures)
    assert figures["test/learning_effect"] > figures["test/random/learning_effect"]
    asked = ["--data.predict_goals", "goals.csv", "--data.predict_histories", "histories.csv"]
    run("predict", "method.yaml", *flags, "--ckpt_path", "last", *asked)
    rows = predictions(folder, "predictions.csv", "method")
    assert [row["learner"] for row in rows] == ["Ada"] * 3 + ["Ben"] * 2
    assert all(row["item"] for row in rows) if actions == "QuestionActions" else "item" not in rows[0]


def test_an_agent_takes_the_questions_from_the_data_of_any_trainer(folder: Path) -> None:
    task = PathRequests(length=3, min_distinct=4)
    data = SyntheticLearners(8, num_learners=60, answers=(12, 24), task=task, cache_dir=str(folder))
    bandit = importlib.import_module("toys.method").TargetBandit
    agent = bandit(8, KESSimulator(DKT(8, 4, 4), actions=QuestionActions(data.num_items)))
    Trainer(fast_dev_run=True, accelerator="cpu", enable_progress_bar=False).fit(agent, data)
    asked = agent.simulator.actions.at(torch.arange(data.num_items))
    assert torch.equal(asked.concept, data.item_concepts)
