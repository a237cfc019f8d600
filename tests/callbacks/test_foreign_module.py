"""Every callback on a module that is not ours."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from foreign_module import ForeignData, ForeignModule, baselines, everyone, make_trainer
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from lpr_lightning.callbacks import (
    CompareBaselines,
    DifficultyTrace,
    MetricsJson,
    ParetoFront,
    PathSamples,
    PathWriter,
    ResultsTable,
    StageProgressBar,
    TrueEffect,
)
from lpr_lightning.errors import SettingError


def events(trainer: Trainer) -> EventAccumulator:
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.flush()
    read = EventAccumulator(str(trainer.log_dir))
    read.Reload()
    return read


def tags(trainer: Trainer, kind: str) -> set[str]:
    return set(events(trainer).Tags()[kind])


def test_pictures_and_texts_reach_tensorboard(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [ParetoFront(every_n_epochs=2), DifficultyTrace(samples=3), PathSamples()])
    module, data = ForeignModule(), ForeignData()
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data, verbose=False)
    read = events(trainer)
    expected = {f"{stage}/{name}" for stage in ("val", "test") for name in ("pareto_front", "difficulty_trace")}
    assert set(read.Tags()["images"]) == expected
    assert len(read.Images("val/difficulty_trace")) == 2
    assert len(read.Images("val/pareto_front")) == 1
    text = read.Tensors("test/paths/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "learner 100" in text
    assert "rung 0 \\| of 5" in text
    assert text.count("E_s = ") == 4


def test_without_tensorboard_nothing_breaks(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [ParetoFront(), DifficultyTrace(), PathSamples()], logger=False)
    trainer.validate(ForeignModule(), datamodule=ForeignData(), verbose=False)


def test_sanity_check_leaves_no_point(tmp_path: Path) -> None:
    front = ParetoFront()
    trainer = make_trainer(tmp_path, [front], num_sanity_val_steps=2, max_epochs=1)
    trainer.fit(ForeignModule(), datamodule=ForeignData())
    assert len(front.trail) == 1


def test_pareto_front_goes_on_after_a_resume(tmp_path: Path) -> None:
    first = make_trainer(tmp_path, [ParetoFront(), ModelCheckpoint(save_last=True, dirpath=tmp_path)], max_epochs=2)
    first.fit(ForeignModule(), datamodule=ForeignData())
    whole, resumed = ParetoFront(), ParetoFront()
    make_trainer(tmp_path, [resumed], max_epochs=4).fit(
        ForeignModule(), datamodule=ForeignData(), ckpt_path=str(tmp_path / "last.ckpt")
    )
    make_trainer(tmp_path, [whole], max_epochs=4).fit(ForeignModule(), datamodule=ForeignData())
    assert len(resumed.trail) == 4
    assert resumed.trail[:2] == whole.trail[:2]


def test_difficulty_trace_says_what_is_missing(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [DifficultyTrace()])
    with pytest.raises(SettingError, match="ZPDAlignment"):
        trainer.validate(ForeignModule(objectives=False), datamodule=ForeignData())


def test_callbacks_do_not_change_what_is_learned(tmp_path: Path) -> None:
    weights = []
    watching = [CompareBaselines(baselines(), stages=["val"]), TrueEffect(stages=["val"]), ParetoFront()]
    for callbacks in ([], watching):
        module = ForeignModule()
        make_trainer(tmp_path, callbacks).fit(module, datamodule=ForeignData())
        weights.append(module.scores.detach().clone())
    assert torch.equal(*weights)
    assert not torch.equal(weights[0], ForeignModule().scores)


def test_metrics_json_holds_the_figures_of_one_model(tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path, "best", "val/true_learning_effect", mode="max", enable_version_counter=False)
    compared = [CompareBaselines(baselines()), TrueEffect(stages=["val", "test"])]
    trainer = make_trainer(tmp_path, [MetricsJson(), *compared, best], max_epochs=3)
    module, data = ForeignModule(), ForeignData()
    trainer.test(module, datamodule=data, verbose=False)
    file = Path(str(trainer.log_dir)) / "metrics.json"
    assert json.loads(file.read_text())["run"]["checkpoint"] is None
    trainer.fit(module, datamodule=data)
    fitted = json.loads(file.read_text())
    assert not [name for name in fitted if name.startswith("test/")]  # of a model that is no more
    score = best.best_model_score
    assert score is not None
    assert fitted["val/true_learning_effect"] == pytest.approx(float(score))
    assert {name for name in fitted if name.startswith("last_epoch/val/")}
    trainer.test(module, datamodule=data, verbose=False, ckpt_path=best.best_model_path)
    content = json.loads(file.read_text())
    assert content["test/learning_effect"] == 0.75
    assert content["test/nothing"] is None
    assert content["val/true_learning_effect"] == fitted["val/true_learning_effect"]
    assert "test/search/learning_effect" in content
    assert content["data"] == {"class": "ForeignData", "fingerprint": "f00d"}
    assert content["run"]["epochs"] == 3
    assert content["run"]["checkpoint"] == "best.ckpt"
    assert list(content) == sorted(content)
    assert not list(file.parent.glob(".staged*"))


def test_table_after_a_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(tmp_path, [CompareBaselines(baselines()), TrueEffect(), ResultsTable()])
    trainer.test(ForeignModule(), datamodule=ForeignData(), verbose=False)
    lines = capsys.readouterr().out.splitlines()
    rows = ["policy", "random", "random_targets", "dktrec", "search", "oracle"]  # twice, each below a heading
    names = [
        line.split()[0]
        for line in lines
        if line.split() and line.split()[0] in rows and not {"reaches", "over"} & {*line.split()}
    ]
    assert names == ["policy", *rows] * 2
    assert max(map(len, lines)) <= 100
    assert any("6 learners" in line for line in lines)
    assert "of search in the simulator" in "".join(lines)
    assert "of oracle in truth" in "".join(lines)
    for title in ("true effect", "oracle", "policy over", "target", "same"):
        assert any(title in line for line in lines), title


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def check_predictions(path: Path) -> None:
    rows = read_csv(path)
    assert list(dict.fromkeys(row["learner"] for row in rows)) == list(ForeignData.predict_learners)
    assert [row["step"] for row in rows if row["learner"] == "ann"] == ["1", "2", "3", "4"]
    (empty,) = (row for row in rows if row["learner"] == "bob")
    assert (empty["step"], empty["concept"], empty["expected_gain"]) == ("0", "", "")
    assert rows[0]["name"] == ForeignData.concept_names[int(rows[0]["concept"])]
    gain = ForeignModule().taught(everyone()).gain[0].tolist()
    assert [float(row["expected_gain"]) for row in rows[:4]] == pytest.approx(gain)
    assert "item" not in rows[0]
    assert [file.name for file in path.parent.glob("*predictions*")] + list(path.parent.glob(".*")) == [path.name]


def test_paths_are_written(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [PathWriter()])
    trainer.predict(ForeignModule(), datamodule=ForeignData(), return_predictions=False)
    check_predictions(Path(str(trainer.log_dir)) / "predictions.csv")


def test_progress_in_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(tmp_path, [StageProgressBar(seconds=0)], num_sanity_val_steps=0)
    trainer.fit(ForeignModule(), datamodule=ForeignData())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("table learning, epoch 1/2, batch 1 | train/loss ")
    assert "validation, batch 1" in lines[2]


def test_progress_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import rich

    rich.reconfigure(force_terminal=True, width=120)
    bar = StageProgressBar(leave=True)
    monkeypatch.setattr(bar, "_console_kwargs", {"force_terminal": True, "width": 120})
    try:
        make_trainer(tmp_path, [bar]).fit(ForeignModule(), datamodule=ForeignData())
    finally:
        rich.reconfigure()
    assert "table learning, epoch 2/2" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    figures = []
    for folder, options in (("one", {}), ("two", {"strategy": "ddp_fork", "devices": 2})):
        callbacks = [CompareBaselines(baselines()), ParetoFront(), MetricsJson(), PathSamples()]
        trainer = make_trainer(tmp_path / folder, callbacks, **options)
        trainer.test(ForeignModule(), datamodule=ForeignData(), verbose=False)
        (file,) = (tmp_path / folder).glob("run/*/metrics.json")
        figures.append(json.loads(file.read_text()))
    compared = {key for key in figures[0] if key.count("/") == 2 and not key.endswith(("_low", "_high"))}
    assert {"test/random/learning_effect", "test/search/true_learning_effect"} <= compared
    assert all(figures[0][key] == pytest.approx(figures[1][key], abs=1e-6) for key in compared)
    trainer = make_trainer(tmp_path / "paths", [PathWriter()], strategy="ddp_fork", devices=2)
    trainer.predict(ForeignModule(), datamodule=ForeignData(), return_predictions=False)
    (file,) = (tmp_path / "paths").glob("run/*/predictions.csv")
    check_predictions(file)
