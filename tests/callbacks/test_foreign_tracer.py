"""Every view on knowledge tracers, on a tracer that is not ours: it counts right and wrong answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.callbacks import (
    MasteryHeatmap,
    MasteryReport,
    MasteryWriter,
    MetricsJson,
    ReliabilityDiagram,
    ResultsTable,
)
from lpr_lightning.errors import SettingError
from lpr_lightning.metrics import AnswerMetrics
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import Answers, Exercise, InteractionBatch, Interactions, PathRequest, State

NUM_CONCEPTS = 6


class CountingTracer(LightningModule):
    """Success is as likely as it was on the concept before, with one learnt answer to begin with."""

    num_concepts = NUM_CONCEPTS

    def __init__(self) -> None:
        super().__init__()
        self.prior = nn.Parameter(torch.tensor(0.0))

    def initial_state(self, batch_size: int) -> State:
        none = torch.zeros(batch_size, NUM_CONCEPTS, device=self.device)
        return none, none.clone()

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        concept = asked.concept
        met = (F.one_hot(concept.clamp_min(0), NUM_CONCEPTS) * (concept >= 0)[..., None]).sum(1).float()
        return state[0] + met * correct[:, None], state[1] + met

    practise = observe

    def encode(self, history: InteractionBatch) -> State:
        state = self.initial_state(len(history))
        for step in range(history.mask.shape[1]):
            state = self.observe(state, history.asked(step), history.correct[:, step])
        return state

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        every = (state[0] + self.prior.sigmoid()) / (state[1] + 1)
        return every if concept is None else every.gather(1, concept)

    def predict(self, state: State, asked: Exercise) -> Tensor:
        return self.mastery(state, asked.concept[:, :1].clamp_min(0)).squeeze(1)

    def _answers(self, batch: InteractionBatch) -> Answers:
        state, parts = self.initial_state(len(batch)), []
        for step in range(batch.mask.shape[1]):
            asked, correct = batch.asked(step), batch.correct[:, step]
            if step:
                one = Answers(self.predict(state, asked), correct, asked.concept, asked.item, batch.learner)
                parts.append(one.select(batch.mask[:, step]))
            state = self.observe(state, asked, correct)
        return Answers.join(parts)

    def training_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        answers = self._answers(batch)
        return F.binary_cross_entropy(answers.probability.clamp(0.01, 0.99), answers.correct)

    def validation_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, Answers]:
        return {"answers": self._answers(batch)}

    def test_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, Answers]:
        answers = self._answers(batch)
        self.log("test/auc", 0.75, batch_size=len(batch))
        self.log("test/brier", (answers.probability - answers.correct).square().mean(), batch_size=len(answers))
        return {"answers": answers}

    def predict_step(self, request: PathRequest, batch_idx: int) -> dict[str, PathRequest | Tensor]:
        return {"request": request, "mastery": self.mastery(self.encode(request.history))}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def log_of(learners: int = 10) -> Interactions:
    """Learner b has b + 2 answers; the better the higher the number."""
    generator = torch.Generator().manual_seed(0)
    histories = []
    for learner in range(learners):
        concepts = torch.randint(NUM_CONCEPTS, (learner + 2,), generator=generator).tolist()
        right = (torch.rand(learner + 2, generator=generator) < (learner + 1) / (learners + 1)).int().tolist()
        histories.append(list(zip(concepts, right)))
    return Interactions.from_lists(histories)


class Histories(LightningDataModule):
    """All learners in batches of `size`, in a given order; with several processes each takes its share."""

    concept_names = tuple(f"a concept with the long name of {number}\nand more" for number in range(NUM_CONCEPTS))

    def __init__(self, order: Sequence[int] = tuple(range(10)), size: int = 4) -> None:
        super().__init__()
        self.order, self.size = list(order), size

    def batches(self) -> list[InteractionBatch]:
        rank, world = 0, 1
        if torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        own = self.order[rank::world]
        parts = [own[first : first + self.size] for first in range(0, len(own), self.size)]
        return [log_of().batch(torch.tensor(part)) for part in parts]

    def loader(self) -> Any:
        return torch.utils.data.DataLoader(self.batches(), batch_size=None)  # type: ignore[arg-type]

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader


class Watched(LightningModule):
    """Not a tracer itself: its learners are one. Batches are requests, which hold histories."""

    def __init__(self) -> None:
        super().__init__()
        self.simulator = SimpleNamespace(tracer=CountingTracer())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Give nothing away."""


class Requests(Histories):
    """The same histories as parts of requests for paths."""

    def loader(self) -> Any:
        requests = [
            replace(
                Ladder(NUM_CONCEPTS).request([[0, 2]] * len(one), 2), history=one, learner=one.learner, row=one.learner
            )
            for one in self.batches()
        ]
        return torch.utils.data.DataLoader(requests, batch_size=None)  # type: ignore[arg-type]

    val_dataloader = predict_dataloader = loader


def views(**settings: Any) -> list[Callback]:
    return [ReliabilityDiagram(**settings), MasteryHeatmap(min_answers=5, **settings), MasteryReport()]


def make_trainer(folder: Path, callbacks: Sequence[Callback], **options: Any) -> Trainer:
    settings: dict[str, Any] = {
        "logger": TensorBoardLogger(str(folder), name="run"),
        "accelerator": "cpu",
        "max_epochs": 2,
        "log_every_n_steps": 1,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "use_distributed_sampler": False,
        "enable_checkpointing": any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
    }
    return Trainer(callbacks=list(callbacks), **{**settings, **options})


def pictures(trainer: Trainer) -> dict[str, int]:
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.flush()
    read = EventAccumulator(str(trainer.log_dir))
    read.Reload()
    return {tag: len(read.Images(tag)) for tag in read.Tags()["images"]}


def test_pictures_reach_tensorboard_and_the_run_folder(tmp_path: Path) -> None:
    trainer, module = make_trainer(tmp_path, views(png=True)), CountingTracer()
    trainer.fit(module, datamodule=Histories())
    trainer.test(module, datamodule=Histories(), verbose=False)
    assert pictures(trainer) == {"val/reliability": 2, "val/mastery": 2, "test/reliability": 1, "test/mastery": 1}
    names = {path.name for path in Path(str(trainer.log_dir)).glob("*.png")}
    assert names == {"val_reliability.png", "val_mastery.png", "test_reliability.png", "test_mastery.png"}
    assert 0 <= float(trainer.callback_metrics["test/mastery_agreement"]) <= 1


def test_sanity_checks_and_other_epochs_are_passed_over(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, views(every_n_epochs=2), num_sanity_val_steps=2)
    trainer.fit(CountingTracer(), datamodule=Histories())
    assert pictures(trainer) == {"val/reliability": 1, "val/mastery": 1}


def test_without_tensorboard_nothing_breaks(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, views(png=True), logger=False, fast_dev_run=True, default_root_dir=tmp_path)
    trainer.fit(CountingTracer(), datamodule=Histories())
    assert not list(tmp_path.rglob("*.png"))


def test_a_resumed_run_goes_on(tmp_path: Path) -> None:
    keep = ModelCheckpoint(save_last=True, dirpath=tmp_path)
    make_trainer(tmp_path, [*views(), keep], max_epochs=1).fit(CountingTracer(), datamodule=Histories())
    weights, figures = [], []
    for start in (None, str(tmp_path / "last.ckpt")):
        module, trainer = CountingTracer(), make_trainer(tmp_path, views(), max_epochs=3)
        trainer.fit(module, datamodule=Histories(), ckpt_path=start)
        weights.append(module.prior.item())
        figures.append(float(trainer.callback_metrics["val/mastery_agreement"]))
        assert pictures(trainer)["val/mastery"] == (3 if start is None else 2)
    assert weights[0] == weights[1]
    assert figures[0] == figures[1]


def test_views_do_not_change_what_is_learnt(tmp_path: Path) -> None:
    weights = []
    for callbacks in ([], views()):
        module = CountingTracer()
        make_trainer(tmp_path, callbacks).fit(module, datamodule=Histories())
        weights.append(module.prior.item())
    assert weights[0] == weights[1] != 0


def test_the_tracer_of_a_simulator_will_do(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [MasteryHeatmap(min_answers=5), MasteryReport()])
    trainer.validate(Watched(), datamodule=Requests(), verbose=False)
    direct = make_trainer(tmp_path, [MasteryReport()])
    direct.validate(CountingTracer(), datamodule=Histories(), verbose=False)
    assert pictures(trainer) == {"val/mastery": 1}
    assert trainer.callback_metrics["val/mastery_agreement"] == direct.callback_metrics["val/mastery_agreement"]


@pytest.mark.parametrize("callback", [MasteryHeatmap(), MasteryReport()])
def test_modules_without_a_tracer_are_refused(tmp_path: Path, callback: Callback) -> None:
    class Without(LightningModule):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            """Do nothing."""

    with pytest.raises(SettingError, match=rf"Without.*protocols\.Tracer.*Leave {type(callback).__name__} out"):
        make_trainer(tmp_path, [callback]).validate(Without(), datamodule=Histories(), verbose=False)


def test_steps_without_answers_are_passed_over(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [ReliabilityDiagram()])
    trainer.validate(Watched(), datamodule=Requests(), verbose=False)
    assert pictures(trainer) == {}


def test_answers_of_another_kind_are_refused(tmp_path: Path) -> None:
    class Wrong(CountingTracer):
        def validation_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, Any]:
            return {"answers": torch.ones(2)}

    with pytest.raises(SettingError, match=r"answers.*Answers"):
        make_trainer(tmp_path, [ReliabilityDiagram()]).validate(Wrong(), datamodule=Histories(), verbose=False)


def test_table_after_a_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = make_trainer(tmp_path, [MasteryReport(), ResultsTable()])
    trainer.test(CountingTracer(), datamodule=Histories(), verbose=False)
    text = capsys.readouterr().out
    assert "Test results: 55 answers of 10 learners" in text
    assert all(title in text for title in ("model", "AUC", "Brier", "agreement"))
    assert not any(title in text for title in ("policy", "accuracy", "ECE"))
    (row,) = (line.split() for line in text.splitlines() if line.strip().startswith("CountingTracer"))
    figures = trainer.callback_metrics
    assert row[1:] == [f"{float(figures[f'test/{name}']):.3f}" for name in ("auc", "brier", "mastery_agreement")]


def test_columns_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for columns, shown in (({"mean square": "brier"}, True), ({"nobody logs": "this"}, False)):
        trainer = make_trainer(tmp_path, [ResultsTable(policy="counts", columns=columns)])
        trainer.test(CountingTracer(), datamodule=Histories(), verbose=False)
        text = capsys.readouterr().out
        assert ("mean square" in text and "counts" in text) == shown == ("Test results" in text)


def test_every_answer_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[tuple[Tensor, Tensor]] = []
    draw = "lpr_lightning.callbacks.reliability_diagram.draw"
    monkeypatch.setattr(draw, lambda probability, correct, *_: rows.append((probability, correct)))
    monkeypatch.setattr("lpr_lightning.callbacks.reliability_diagram.add_figure", lambda *_: None)
    module = CountingTracer()
    for size in (3, 10):
        make_trainer(tmp_path, [ReliabilityDiagram()]).validate(module, datamodule=Histories(size=size), verbose=False)
    with torch.no_grad():
        answers = module._answers(log_of().batch(torch.arange(10)))
    metrics = []
    for probability, correct in [*rows, (answers.probability, answers.correct)]:
        metric = AnswerMetrics()
        metric.update(probability, correct)
        metrics.append({key: float(value) for key, value in metric.compute().items()})
    assert metrics[0] == pytest.approx(metrics[2])
    assert metrics[1] == pytest.approx(metrics[2])


def test_mastery_is_written(tmp_path: Path) -> None:
    trainer, module = make_trainer(tmp_path, [MasteryWriter()]), CountingTracer()
    trainer.predict(module, datamodule=Requests(order=[3, 1, 0, 2], size=3), return_predictions=False)
    with (Path(str(trainer.log_dir)) / "mastery.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["learner", "concept", "name", "mastery", "answers", "target"]
    answered = [(log_of().batch(torch.tensor([b])).concept == n).sum().item() for b in range(4) for n in range(6)]
    assert [int(row["answers"]) for row in rows] == answered
    assert [(row["learner"], row["concept"]) for row in rows] == [(str(b), str(n)) for b in range(4) for n in range(6)]
    assert [row["name"] for row in rows[:6]] == list(Histories.concept_names)
    assert [row["target"] for row in rows[:6]] == ["yes", "", "yes", "", "", ""]
    with torch.no_grad():
        expected = module.mastery(module.encode(log_of().batch(torch.arange(4)))).flatten().tolist()
    assert [float(row["mastery"]) for row in rows] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    found = []
    for folder, options in (("one", {}), ("two", {"strategy": "ddp_fork", "devices": 2})):
        trainer = make_trainer(tmp_path / folder, [*views(png=True), MetricsJson()], **options)
        trainer.test(CountingTracer(), datamodule=Histories(size=3), verbose=False)
        (file,) = (tmp_path / folder).glob("run/*/metrics.json")
        agreement = json.loads(file.read_text())["test/mastery_agreement"]
        found.append(
            (agreement, *((file.parent / f"test_{name}.png").read_bytes() for name in ("reliability", "mastery")))
        )
    assert found[0][0] == found[1][0]
    assert found[0][2] == found[1][2]
    assert found[0][1] == found[1][1]
    tables = []
    for folder, options in (("one", {}), ("two", {"strategy": "ddp_fork", "devices": 2})):
        trainer = make_trainer(tmp_path / folder, [MasteryWriter()], **options)
        trainer.predict(CountingTracer(), datamodule=Requests(size=3), return_predictions=False)
        (file,) = (tmp_path / folder).glob("run/*/mastery.csv")
        tables.append(file.read_bytes())
        assert not list(file.parent.glob(".*"))
    assert tables[0] == tables[1]
