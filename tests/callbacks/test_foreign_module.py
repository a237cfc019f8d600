"""Every callback on a module that is not ours: a table of concept scores over a known simulator."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from torch import Tensor, nn

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
from lpr_lightning.demonstrations.baselines import DKTRec, RandomPaths
from lpr_lightning.demonstrations.beam import BeamSearch
from lpr_lightning.errors import SettingError
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import PathPolicy, PathRequest, Rollout, SimulatorState

NUM_CONCEPTS, LENGTH = 5, 4


class Zones(NamedTuple):
    centre: float
    width: float

    def at(self, proficiency: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(proficiency, self.centre), torch.full_like(proficiency, self.width)


class Zone(nn.Module):
    """An objective of somebody else's with what DifficultyTrace asks for."""

    name = "zpd"
    difficulty: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("difficulty", torch.linspace(0.1, 0.9, NUM_CONCEPTS))
        self.bands = Zones(0.4, 0.1)

    def proficiency(self, rollout: Rollout) -> Tensor:
        return rollout.mastery_before.mean(1)

    def forward(self, rollout: Rollout) -> Tensor:
        return torch.full_like(rollout.score_before, 0.25)


class NoisyLadder:
    """Learners that sometimes do not learn, drawing from their own generator."""

    def __init__(self, num_concepts: int) -> None:
        self.num_concepts = num_concepts
        self.ladder = Ladder(num_concepts)
        self.generator = torch.Generator()
        self.start, self.exam, self.mastery = self.ladder.start, self.ladder.exam, self.ladder.mastery

    def seed(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def step(self, state: SimulatorState, concept: Tensor) -> tuple[SimulatorState, Tensor, Tensor]:
        new, response, probability = self.ladder.step(state, concept)
        learnt = torch.rand(len(concept), 1, generator=self.generator) < 0.7
        return (torch.where(learnt, new[0], state[0]),), response, probability


class ForeignModule(LightningModule):
    """Scores concepts by a table, recommends them in order of their scores."""

    def __init__(self, objectives: bool = True) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.linspace(1.0, 0.0, NUM_CONCEPTS))
        self.simulator = NoisyLadder(NUM_CONCEPTS)
        self.objectives = nn.ModuleList([Zone()] if objectives else [])
        self.stage_name = "table learning"

    def _followed(self, request: PathRequest) -> dict[str, Any]:
        noise = torch.rand(len(request), NUM_CONCEPTS, generator=torch.Generator().manual_seed(int(request.row[0])))
        path = (self.scores + noise).argsort(1, descending=True)[:, :LENGTH]
        return {"request": request, "rollout": rollout(self.simulator, request, path)}

    def training_step(self, batch: PathRequest, batch_idx: int) -> Tensor:
        learnt = self._followed(batch)["rollout"].mastery_after.mean()
        loss: Tensor = (self.scores * learnt).sum()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch: PathRequest, batch_idx: int) -> dict[str, Any]:
        return self._followed(batch)

    def test_step(self, batch: PathRequest, batch_idx: int) -> dict[str, Any]:
        answer = self._followed(batch)
        self.log("test/learning_effect", 0.75, batch_size=len(batch))
        self.log("test/nothing", float("nan"), batch_size=len(batch))
        return answer

    def predict_step(self, batch: PathRequest, batch_idx: int) -> dict[str, Any]:
        answer = self._followed(batch)
        path = answer["rollout"].path.clone()
        path[batch.row == 1] = -1
        return {
            **answer,
            "rollout": replace(answer["rollout"], path=path),
            "expected_gain": torch.full(path.shape, 0.5),
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Requests(torch.utils.data.IterableDataset[PathRequest]):
    """Six requests in batches of three; with several processes each takes its share."""

    def __iter__(self) -> Iterator[PathRequest]:
        trainer_rank, world = 0, 1
        if torch.distributed.is_initialized():
            trainer_rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        everyone = Ladder(NUM_CONCEPTS).request([[0, 1], [0], [1, 2], [3], [2, 4], [4]], LENGTH)
        everyone = replace(everyone, learner=torch.arange(6) + 100)
        for batch in list(torch.arange(6).view(2, 3))[trainer_rank::world]:
            yield everyone.select(batch)


class ForeignData(LightningDataModule):
    """The requests, with names and learners of known truth."""

    concept_names = tuple(f"rung {number} | of 5" for number in range(NUM_CONCEPTS))
    predict_learners = ("ann", "bob", "cy", "dee", "eve", "fay")
    fingerprint = "f00d"

    def __init__(self, truth: bool = True) -> None:
        super().__init__()
        self.truth = NoisyLadder(NUM_CONCEPTS) if truth else None

    def loader(self) -> Any:
        return torch.utils.data.DataLoader(Requests(), batch_size=None)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader


def baselines() -> list[PathPolicy]:
    return [RandomPaths(), DKTRec(), BeamSearch(width=2)]


def make_trainer(folder: Path, callbacks: Sequence[Callback], **options: Any) -> Trainer:
    settings: dict[str, Any] = {
        "logger": TensorBoardLogger(str(folder), name="run"),
        "accelerator": "cpu",
        "max_epochs": 2,
        "log_every_n_steps": 1,
        "enable_model_summary": False,
    }
    if not any(isinstance(callback, StageProgressBar) for callback in callbacks):
        settings["enable_progress_bar"] = False
    if not any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
        settings["enable_checkpointing"] = False
    return Trainer(callbacks=list(callbacks), **{**settings, **options})


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
    with pytest.raises(SettingError, match="zpd"):
        trainer.validate(ForeignModule(objectives=False), datamodule=ForeignData())


def test_baselines_and_truth_are_logged(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [CompareBaselines(baselines()), TrueEffect()])
    trainer.test(ForeignModule(), datamodule=ForeignData(), verbose=False)
    logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
    for name in ("random", "dktrec", "search"):
        assert {f"test/{name}/learning_effect", f"test/{name}/true_learning_effect"} <= set(logged)
        assert logged[f"test/{name}/zpd"] == 0.25
        assert logged[f"test/{name}/sessions"] == 6
    assert "test/true_learning_effect" in logged
    assert logged["test/search/learning_effect"] > logged["test/random/learning_effect"]


def test_unknown_truth_and_missing_objectives_leave_their_figures_out(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [CompareBaselines([DKTRec()], stages=["val"]), TrueEffect(stages=["val"])])
    trainer.validate(ForeignModule(objectives=False), datamodule=ForeignData(truth=False), verbose=False)
    assert "val/dktrec/learning_effect" in trainer.callback_metrics
    assert not [key for key in trainer.callback_metrics if "true" in key or "zpd" in key]


def test_baselines_need_a_request(tmp_path: Path) -> None:
    class WithoutRequest(ForeignModule):
        def validation_step(self, batch: PathRequest, batch_idx: int) -> dict[str, Any]:
            return {"rollout": self._followed(batch)["rollout"]}

    trainer = make_trainer(tmp_path, [CompareBaselines(baselines(), stages=["val"])])
    with pytest.raises(SettingError, match="request"):
        trainer.validate(WithoutRequest(), datamodule=ForeignData())


def test_callbacks_do_not_change_what_is_learnt(tmp_path: Path) -> None:
    weights = []
    watching = [CompareBaselines(baselines(), stages=["val"]), TrueEffect(stages=["val"]), ParetoFront()]
    for callbacks in ([], watching):
        module = ForeignModule()
        make_trainer(tmp_path, callbacks).fit(module, datamodule=ForeignData())
        weights.append(module.scores.detach().clone())
    assert torch.equal(*weights)
    assert not torch.equal(weights[0], ForeignModule().scores)


def test_metrics_json_keeps_the_test_after_a_further_fit(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [MetricsJson(), CompareBaselines(baselines()), TrueEffect(stages=["val", "test"])])
    module, data = ForeignModule(), ForeignData()
    trainer.test(module, datamodule=data, verbose=False)
    trainer.fit(module, datamodule=data)
    file = Path(str(trainer.log_dir)) / "metrics.json"
    content = json.loads(file.read_text())
    assert content["test/learning_effect"] == 0.75
    assert content["test/nothing"] is None
    assert {"test/search/learning_effect", "val/true_learning_effect"} <= set(content)
    assert content["data"] == {"class": "ForeignData", "fingerprint": "f00d"}
    assert content["run"]["epochs"] == 2
    assert list(content) == sorted(content)
    assert not list(file.parent.glob(".metrics*"))


def test_table_after_a_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(tmp_path, [CompareBaselines(baselines()), TrueEffect(), ResultsTable()])
    trainer.test(ForeignModule(), datamodule=ForeignData(), verbose=False)
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines if line.split() and line.split()[0] in ("policy", "random", "search")]
    assert names == ["policy", "policy", "random", "search"]
    assert max(map(len, lines)) <= 100
    assert any("6 learners" in line for line in lines)


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
    assert rows[0]["expected_gain"] == "0.5"
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
    same = {key for key in figures[0] if key.endswith(("sessions", "path_length", "path_diversity"))}
    assert same
    assert all(figures[0][key] == pytest.approx(figures[1][key]) for key in same)
    trainer = make_trainer(tmp_path / "paths", [PathWriter()], strategy="ddp_fork", devices=2)
    trainer.predict(ForeignModule(), datamodule=ForeignData(), return_predictions=False)
    (file,) = (tmp_path / "paths").glob("run/*/predictions.csv")
    check_predictions(file)
