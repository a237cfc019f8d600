"""A rule or a search from the command line: fitted, kept, and asked for the next exercise."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lpr_lightning.cli import main
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import load_module
from lpr_lightning.models.recommender import Recommender

SMALL = [
    *("--data.num_learners=40", "--data.num_concepts=6", "--data.answers=[12,20]", "--data.task.history=5"),
    *("--data.task.length=3", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"),
]
TRACER = """\
model: {class_path: CalibratedDKT, init_args: {embedding_size: 4, hidden_size: 5, head_size: 6, calibration_epochs: 1}}
data: {init_args: {task: {class_path: NextAnswers}}}
trainer: {max_epochs: 2}
"""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_predict_recommends_and_plans_again_when_the_answer_comes_back(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tracer.yaml").write_text(TRACER)
    config = ["--config", str(project / "configs" / "exercises" / "recommend.yaml")]
    tracer = ["--model.simulator.init_args.tracer", "tracer.yaml"]
    main(["fit", *config, *tracer, *SMALL])
    folder = Path("logs/recommend")
    agent = load_module(folder / "version_0" / "checkpoints" / "best.ckpt")
    assert isinstance(agent, Recommender)
    assert agent.policy.name == agent.name == "exact_greedy"
    assert not any(weight.requires_grad for weight in agent.parameters())

    Path("histories.csv").write_text(
        'learner,concept,item,correct\nann,Fractions 1,"Fractions 1, exercise 1",1\nbob,Fractions 2,,0\n'
    )
    asked = ["predict", *config, "--ckpt_path", "best", *SMALL, "--data.predict_histories", "histories.csv"]
    main([*asked, "--data.predict_length", "3"])
    first = rows(folder / "version_1" / "predictions.csv")
    assert [(row["learner"], row["step"]) for row in first] == [
        (who, str(n)) for who in ("ann", "bob") for n in (1, 2, 3)
    ]
    assert all(row["item"] and 0 < float(row["predicted_success"]) < 1 for row in first)

    concept = first[0]["name"].split(";")[0]
    Path("answers.csv").write_text(f'learner,concept,item,correct\nann,{concept},"{first[0]["item"]}",1\n')
    main([*asked, "--data.predict_length", "3", "--data.predict_answers", "answers.csv"])
    second = rows(folder / "version_2" / "predictions.csv")
    assert [row["step"] for row in second if row["learner"] == "ann"] == ["1", "2"]
    assert [row for row in second if row["learner"] == "bob"] == [row for row in first if row["learner"] == "bob"]
    assert second[0]["predicted_success"] != first[1]["predicted_success"]


def test_every_policy_of_the_folder_is_laid_over_the_frame(project: Path, tmp_path: Path) -> None:
    from lpr_lightning.studies.exercise_methods import ConfiguredMethod

    found = {
        path.stem: ConfiguredMethod.read(path)
        for path in sorted((project / "configs" / "exercises").glob("*.yaml"))
        if path.stem != "recommend"
    }
    assert not any(one.learns for one in found.values())
    assert [name for name, one in found.items() if one.real] == ["historical"]


def test_a_simulator_is_needed() -> None:
    with pytest.raises(SettingError, match="simulator"):
        Recommender(3)
