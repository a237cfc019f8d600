"""Every callback on a module that is not ours: a table of concept scores over a known simulator."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import HardExam, SoftExam, Targets
from lpr_lightning.policies import BeamSearch, DKTRec, FixedPaths, RandomPaths, RandomTargets, follow_paths
from lpr_lightning.protocols import Act, Environment, Policy
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.types import Exercise, PathRequest, Rollout, State, TensorData, keep_rows, repeat_rows

NUM_CONCEPTS, LENGTH = 5, 4


class Zones(NamedTuple):
    centre: float
    width: float

    def at(self, proficiency: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(proficiency, self.centre), torch.full_like(proficiency, self.width)


class Zone(nn.Module):
    """An objective of somebody else's with what DifficultyTrace asks for."""

    difficulty: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("difficulty", torch.linspace(0.1, 0.9, NUM_CONCEPTS))
        self.bands = Zones(0.4, 0.1)

    def proficiency(self, rollout: Rollout) -> Tensor:
        return rollout.mastery_before.mean(1)

    def forward(self, rollout: Rollout) -> Tensor:
        return torch.full_like(rollout.score_before, 0.25)


@dataclass
class NoisyLadder(Ladder):
    """Learners who answer rightly by chance, and learn from right answers alone."""

    right: float = 0.7

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        if draws is None:
            return torch.ones_like(probability)
        return (draws.uniform(*probability.shape[1:]) < self.right).to(probability)

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        before = repeat_rows(state, asked.candidates().shape[1])
        return keep_rows(before, super().practise(state, asked, correct), correct.flatten() >= 0.5)

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        return self.practise(state, asked, correct)


def true_ladder() -> NoisyLadder:
    return NoisyLadder(NUM_CONCEPTS, gain=0.4, right=0.4)


class ForeignModule(LightningModule):
    """Scores concepts by a table, recommends them in order of their scores."""

    def __init__(self, objectives: bool = True) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.linspace(1.0, 0.0, NUM_CONCEPTS))
        self.simulator, self.goal, self.early_stop = NoisyLadder(NUM_CONCEPTS), Targets(), False
        self.objectives = nn.ModuleDict({"zpd": Zone()} if objectives else {})
        self.stage_name = "table learning"

    def taught(self, request: PathRequest) -> Rollout:
        draws = request_draws(0, 0, request)
        path = (self.scores + draws.at(7).uniform(NUM_CONCEPTS)).argsort(1, descending=True)[:, :LENGTH]
        path = path.masked_fill(request.length[:, None] == 0, -1)
        return rollout(self.simulator, self.goal, request, FixedPaths(path), draws, early_stop=self.early_stop)

    def _outputs(self, request: PathRequest) -> dict[str, TensorData]:
        return {"request": request, "rollout": self.taught(request)}

    def training_step(self, batch: PathRequest, batch_idx: int) -> Tensor:
        learned = self.taught(batch).mastery_after.mean()
        loss: Tensor = (self.scores * learned).sum()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch: PathRequest, batch_idx: int) -> dict[str, TensorData]:
        return self._outputs(batch)

    def test_step(self, batch: PathRequest, batch_idx: int) -> dict[str, TensorData]:
        self.log("test/learning_effect", 0.75, batch_size=len(batch))
        self.log("test/nothing", float("nan"), batch_size=len(batch))
        return self._outputs(batch)

    def predict_step(self, batch: PathRequest, batch_idx: int) -> dict[str, TensorData]:
        return self._outputs(replace(batch, length=batch.length.masked_fill(batch.row == 1, 0)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Stubborn(ForeignModule):
    """A policy itself: asks a target until it is answered rightly, then the next; goes on by what it sees."""

    name = "stubborn"

    def taught(self, request: PathRequest) -> Rollout:
        return rollout(self.simulator, self.goal, request, self, request_draws(0, 0, request))

    def begin(self, environment: Environment, request: PathRequest) -> State:
        return (torch.zeros_like(request.row),)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        return Act(state[0].clamp_max(NUM_CONCEPTS - 1))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        return (state[0] + (correct >= 0.5).long(),)


def everyone() -> PathRequest:
    request = Ladder(NUM_CONCEPTS).request([[0, 1], [0], [1, 2], [3], [2, 4], [4]], LENGTH)
    return replace(request, learner=torch.arange(6) + 100)


class Requests(torch.utils.data.IterableDataset[PathRequest]):
    """Six requests in batches of three; with several processes each takes its share."""

    def __init__(self, size: int = 3) -> None:
        self.size = size

    def __iter__(self) -> Iterator[PathRequest]:
        trainer_rank, world = 0, 1
        if torch.distributed.is_initialized():
            trainer_rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        for batch in list(torch.arange(6).split(self.size))[trainer_rank::world]:
            yield everyone().select(batch)


class ForeignData(LightningDataModule):
    """The requests, with names and learners of known truth."""

    concept_names = tuple(f"rung {number} | of 5" for number in range(NUM_CONCEPTS))
    predict_learners = ("ann", "bob", "cy", "dee", "eve", "fay")
    fingerprint = "f00d"

    def __init__(self, truth: bool = True, size: int = 3) -> None:
        super().__init__()
        self.truth = true_ladder() if truth else None
        self.size = size

    def loader(self) -> Any:
        return torch.utils.data.DataLoader(Requests(self.size), batch_size=None)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader


def baselines() -> list[Policy]:
    return [RandomPaths(), RandomTargets(), DKTRec(), BeamSearch(width=2)]


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
    with pytest.raises(SettingError, match="ZPDAlignment"):
        trainer.validate(ForeignModule(objectives=False), datamodule=ForeignData())


def test_baselines_and_truth_are_logged(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [CompareBaselines(baselines()), TrueEffect()])
    trainer.test(ForeignModule(), datamodule=ForeignData(), verbose=False)
    logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
    for name in ("random", "random_targets", "dktrec", "search"):
        assert {f"test/{name}/learning_effect", f"test/{name}/true_learning_effect"} <= set(logged)
        assert logged[f"test/{name}/zpd"] == 0.25
        assert logged[f"test/{name}/sessions"] == 6
    assert "test/true_learning_effect" in logged
    assert logged["test/search/learning_effect"] > logged["test/random/learning_effect"]


def logged_by(callback: Callback, module: LightningModule, data: ForeignData, folder: Path) -> dict[str, float]:
    trainer = make_trainer(folder, [callback])
    trainer.test(module, datamodule=data, verbose=False)
    return {key: float(value) for key, value in trainer.callback_metrics.items()}


def test_baselines_see_the_answers_that_are_really_given(tmp_path: Path) -> None:
    """DKTRec taught by hand, on the simulator and on the true learners, of whom it knows the simulator alone."""
    module, data = ForeignModule(), ForeignData()
    logged = logged_by(CompareBaselines([DKTRec()]), module, data, tmp_path)
    request, truth = everyone(), true_ladder()
    draws, model = request_draws(0, 0, request), module.simulator
    own = rollout(model, Targets(), request, DKTRec(), draws)
    assert own.response.mean() not in (0, 1)
    assert logged["test/dktrec/learning_effect"] == pytest.approx(float(effect(own)), abs=1e-6)
    true = rollout(truth, Targets(SoftExam()), request, DKTRec(), draws, model=model)
    assert logged["test/dktrec/true_learning_effect"] == pytest.approx(float(effect(true)), abs=1e-6)


def effect(taught: Rollout) -> Tensor:
    missing = taught.score_max - taught.score_before
    return ((taught.score_after - taught.score_before) / missing).mean()


def test_figures_do_not_depend_on_batches(tmp_path: Path) -> None:
    for callback in (CompareBaselines(baselines()), TrueEffect()):
        one, two = (logged_by(callback, ForeignModule(), ForeignData(size=size), tmp_path) for size in (2, 6))
        assert one == pytest.approx(two, nan_ok=True)


@pytest.mark.parametrize(("exam", "marks"), [(None, SoftExam()), (HardExam(0.7), HardExam(0.7))])
def test_truth_follows_the_paths_of_a_module_that_is_no_policy(
    tmp_path: Path, exam: HardExam | None, marks: HardExam | SoftExam
) -> None:
    module, request = ForeignModule(), everyone()
    logged = logged_by(TrueEffect(exam), module, ForeignData(), tmp_path)
    path, draws = module.taught(request).action, request_draws(0, 0, request)
    expected = effect(follow_paths(true_ladder(), Targets(marks), request, path, draws))
    assert logged["test/true_learning_effect"] == pytest.approx(float(expected), abs=1e-6)


def test_truth_is_taught_closed_loop_by_a_module_that_is_a_policy(tmp_path: Path) -> None:
    module, request = Stubborn(), everyone()
    logged = logged_by(TrueEffect(), module, ForeignData(), tmp_path)
    truth, draws = true_ladder(), request_draws(0, 0, request)
    taught = rollout(truth, Targets(SoftExam()), request, module, draws, model=module.simulator)
    assert not torch.equal(taught.action, rollout(module.simulator, Targets(), request, module, draws).action)
    assert logged["test/true_learning_effect"] == pytest.approx(float(effect(taught)), abs=1e-6)


def test_true_learners_are_asked_what_the_module_asks(tmp_path: Path) -> None:
    """Question q of the module is on concept 4 - q; the true learners number concepts alone."""
    module, data, request = Stubborn(), ForeignData(), everyone()
    module.simulator.actions = QuestionActions(NUM_CONCEPTS)
    module.simulator.actions.item_concepts = torch.arange(NUM_CONCEPTS).flip(0)[:, None]
    logged = logged_by(TrueEffect(), module, data, tmp_path)
    truth = true_ladder()
    truth.actions = module.simulator.actions
    taught = rollout(truth, Targets(SoftExam()), request, module, request_draws(0, 0, request), model=module.simulator)
    assert taught.session.item[:, 0].tolist() == [0] * 6
    assert taught.concept[:, 0, 0].tolist() == [4] * 6
    assert logged["test/true_learning_effect"] == pytest.approx(float(effect(taught)), abs=1e-6)


def test_objectives_that_the_module_has_not_are_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [CompareBaselines(objectives=["zone"])])
    with pytest.raises(SettingError, match=r"zone.*one of zpd"):
        trainer.test(ForeignModule(), datamodule=ForeignData(), verbose=False)


def test_baselines_need_learners(tmp_path: Path) -> None:
    class Bare(LightningModule):
        def test_step(self, batch: PathRequest, batch_idx: int) -> None:
            """Do nothing."""

    with pytest.raises(SettingError, match=r"Bare.*HasEpisodes"):
        make_trainer(tmp_path, [CompareBaselines()]).test(Bare(), datamodule=ForeignData(), verbose=False)


def test_unknown_truth_and_missing_objectives_leave_their_figures_out(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [CompareBaselines([DKTRec()], stages=["val"]), TrueEffect(stages=["val"])])
    trainer.validate(ForeignModule(objectives=False), datamodule=ForeignData(truth=False), verbose=False)
    assert "val/dktrec/learning_effect" in trainer.callback_metrics
    assert not [key for key in trainer.callback_metrics if "true" in key or "zpd" in key]


def test_baselines_need_a_request(tmp_path: Path) -> None:
    class WithoutRequest(ForeignModule):
        def validation_step(self, batch: PathRequest, batch_idx: int) -> dict[str, TensorData]:
            return {"rollout": self.taught(batch)}

    trainer = make_trainer(tmp_path, [CompareBaselines(baselines(), stages=["val"])])
    with pytest.raises(SettingError, match="request"):
        trainer.validate(WithoutRequest(), datamodule=ForeignData())


def test_callbacks_do_not_change_what_is_learned(tmp_path: Path) -> None:
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
    rows = ("policy", "random", "random_targets", "search")
    names = [line.split()[0] for line in lines if line.split() and line.split()[0] in rows]
    assert names == ["policy", *rows]
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
