"""MultiTaskLSTM learns paths and answers, looks at no label to recommend, and stands beside baselines."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.path_baselines import bigram_path, bigram_successors
from lpr_lightning.functional.repeats import excess_repeats, expected_repeats, hard_repeats, pairwise_repeats
from lpr_lightning.models.multitask_lstm import MultiTaskLSTM, last_concept
from lpr_lightning.protocols import Tracer
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.tasks.next_paths import LoggedPaths, NextPaths
from lpr_lightning.types import Answers, Exercise, InteractionBatch, Interactions, PathRequest, Rollout

TASK = NextPaths(history_length=4, length=3, train_stride=2)


def data(task: Any = TASK) -> SyntheticLearners:
    return SyntheticLearners(num_concepts=8, num_learners=60, answers=(20, 30), task=task, batch_size=16)


def one_batch(rows: int = 12) -> LoggedPaths:
    source = data()
    source.setup()
    batch = source.train_dataloader().examples.batch(torch.arange(rows))
    assert isinstance(batch, LoggedPaths)
    return batch


def model_of(**settings: Any) -> MultiTaskLSTM:
    torch.manual_seed(0)
    return MultiTaskLSTM(**{"num_concepts": 8, "embedding_size": 12, "hidden_size": 10, **settings})


def trainer_of(folder: Path, **settings: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(default_root_dir=folder, accelerator="cpu", **{"max_epochs": 1, **quiet, **settings})


def request_of(history: InteractionBatch, length: int) -> PathRequest:
    rows = torch.arange(len(history))
    return PathRequest(history, torch.ones(len(history), 8) > 0, torch.full_like(rows, length), rows, rows)


def changed_labels(batch: LoggedPaths) -> LoggedPaths:
    future = batch.future
    concept = (future.concept + 1) % 8
    return replace(batch, future=replace(future, concept=concept, correct=1 - future.correct))


def test_it_is_a_tracer() -> None:
    assert isinstance(model_of(), Tracer)


@pytest.mark.parametrize("settings", [{}, {"decoder": "direct"}, {"decoder": "shared"}, {"beam_width": 3}])
def test_changing_the_labels_changes_no_recommendation(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = model_of(**settings).eval(), one_batch()
    seen: list[Tensor] = []

    def update(paths: Mapping[str, Tensor], *_: Tensor) -> None:
        seen.append(paths[""])

    monkeypatch.setattr(model.val_figures, "update", update)
    with torch.no_grad():
        for one in (batch, changed_labels(batch)):
            model.evaluate(one, "val")
    assert torch.equal(*seen)


def test_answers_of_the_path_change_no_prediction_of_them() -> None:
    model, batch = model_of().eval(), one_batch()
    flipped = replace(batch, future=replace(batch.future, correct=1 - batch.future.correct))
    with torch.no_grad():
        own, other = (model.evaluate(one, "val")["answers"] for one in (batch, flipped))
    assert isinstance(own, Answers)
    assert isinstance(other, Answers)
    assert torch.equal(own.probability, other.probability)
    assert torch.equal(own.correct, batch.future.correct.flatten())
    assert torch.equal(own.learner, batch.future.learner.repeat_interleave(3))
    assert own.concept.shape == (36, 1)


def test_the_terms_of_the_loss_have_their_weights() -> None:
    batch = one_batch()
    for excess in (True, False):
        model = model_of(lambda_tracing=0.5, lambda_repeat=2.0, excess=excess)
        losses, expected = model.terms(batch)
        assert set(losses) == {"path", "tracing", "repeat"}
        state, last = model.net.encode(batch.history), last_concept(batch.history)
        logit = model.net.path_logit(state, last, batch.path)
        chance = logit.log_softmax(-1).gather(2, batch.path[..., None])
        torch.testing.assert_close(losses["path"], -chance.mean())
        correct, success = batch.future.correct, model.net.trace(state, batch.path).sigmoid()
        entropy = -(correct * success.log() + (1 - correct) * (1 - success).log())
        torch.testing.assert_close(losses["tracing"], 0.5 * entropy.mean())
        probability = model.net.path_logit(state, last, model.net.recommend(state, last, 3)).softmax(-1)
        repeats = pairwise_repeats(probability)
        repeats = excess_repeats(repeats, batch.path) if excess else repeats
        torch.testing.assert_close(losses["repeat"], 2 * repeats.mean())
        torch.testing.assert_close(expected, expected_repeats(probability).mean())
        torch.testing.assert_close(model.losses(batch), losses)


def test_a_term_without_weight_moves_nothing() -> None:
    model = model_of(lambda_tracing=0, lambda_repeat=0)
    losses = model.losses(one_batch())
    assert set(losses) == {"path"}
    torch.autograd.backward(losses["path"])
    moved = {name.split(".")[1] for name, weight in model.named_parameters() if weight.grad is not None}
    assert moved == {"answers", "steps", "shared", "path", "path_head"}


@pytest.mark.parametrize(
    "settings", [{}, {"cell": "rnn", "decoder": "shared"}, {"decoder": "direct"}, {"repeat_of": "logged"}]
)
def test_one_step_changes_every_weight_and_two_learners_can_be_learned_by_heart(settings: dict[str, Any]) -> None:
    model, batch = model_of(lambda_repeat=0.1, **settings), one_batch(2)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    for step in range(120):
        losses = model.losses(batch)
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        optimizer.step()
        if step == 0:
            assert all(not torch.equal(before[name], weight) for name, weight in model.named_parameters())
    with torch.no_grad():
        assert torch.equal(model.eval().plan(request_of(batch.history, 3)), batch.path)
        assert float(losses["tracing"]) < 0.1


@pytest.mark.parametrize("repeat_of", ["own", "logged"])
def test_the_repeat_loss_makes_paths_repeat_less(repeat_of: str) -> None:
    source = data(NextPaths(4, 5, labels="next"))
    source.setup()
    batch = source.train_dataloader().examples.batch(torch.arange(40))
    assert isinstance(batch, LoggedPaths)
    repeats = []
    for weight in (0.0, 4.0):
        model = model_of(lambda_repeat=weight, excess=False, repeat_of=repeat_of, learning_rate=2e-2)
        optimizer = model.configure_optimizers()
        for _ in range(60):
            optimizer.zero_grad()
            torch.autograd.backward(torch.stack(list(model.losses(batch).values())).sum())
            optimizer.step()
        repeats.append(float(hard_repeats(model.eval().plan(request_of(batch.history, 5))).float().mean()))
    assert repeats[1] < repeats[0] - 1


def test_figures_stand_beside_baselines_fitted_on_training_learners(tmp_path: Path) -> None:
    model, source = model_of(), data()
    [figures] = trainer_of(tmp_path).test(model, datamodule=source, verbose=False)
    paths = {"accuracy", "precision", "recall", "f1", "repeat_rate", "label_repeat_rate"}
    names = {f"test/{prefix}{name}" for prefix in ("", "copy_last/", "bigram/", "majority/") for name in paths}
    assert names <= set(figures)
    assert {"test/tracing_auc", *(f"test/tracing_auc_step_{n}" for n in (1, 2, 3))} <= set(figures)
    log = TASK.log(source.interactions("train"))
    examples = source.test_dataloader().examples
    batch = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(batch, LoggedPaths)
    path = bigram_path(bigram_successors(log, 8, 8), last_concept(batch.history), 3)
    assert figures["test/bigram/accuracy"] == pytest.approx(float((path == batch.path).float().mean()), abs=1e-6)
    copied = (last_concept(batch.history)[:, None] == batch.path).float().mean()
    assert figures["test/copy_last/accuracy"] == pytest.approx(float(copied), abs=1e-6)
    assert figures["test/recall"] == pytest.approx(figures["test/accuracy"], abs=1e-6)


def test_no_repeat_holds_for_every_path() -> None:
    model, batch = model_of(no_repeat=True, beam_width=2).eval(), one_batch()
    with torch.no_grad():
        assert int(hard_repeats(model.plan(request_of(batch.history, 8))).max()) == 0


def test_unseen_learners_get_paths_of_the_length_they_want_and_a_rollout(tmp_path: Path) -> None:
    model, source = model_of().eval(), data()
    source.setup()
    model.connect(source)
    history = Interactions.from_lists([[(c, 1) for c in (0, 0, 1, 2, 2, 3, 4)], [], [(5, 0)]]).batch(torch.arange(3))
    targets = torch.zeros(3, 8, dtype=torch.bool)
    targets[:, 3] = True
    rows = torch.arange(3)
    request = PathRequest(history, targets, torch.tensor([5, 2, 3]), torch.full((3,), -1), rows)
    with torch.no_grad():
        outputs = model.predict_step(request, 0)
    rollout = outputs["rollout"]
    assert isinstance(rollout, Rollout)
    assert outputs["request"] is request
    assert rollout.length.tolist() == [5, 2, 3]
    assert rollout.gain.shape == rollout.predicted.shape == (3, 5)
    read = TASK.history(history)
    assert read.concept[0, :, 0].tolist() == [1, 2, 3, 4]
    with torch.no_grad():
        torch.testing.assert_close(rollout.action, model.plan(replace(request, history=read)))
        first = model.predict(model.encode(read), Exercise.of_concepts(rollout.action[:, 0]))
    torch.testing.assert_close(rollout.predicted[:, 0], first)
    assert all(weight.requires_grad for weight in model.parameters())
    alone = model.plan(request.select(torch.tensor([1])))
    assert torch.equal(alone[0], rollout.action[1, :2])


def test_a_checkpoint_keeps_the_bigram_and_how_histories_are_read(tmp_path: Path) -> None:
    model = model_of(hidden_size=7)
    trainer = trainer_of(tmp_path, limit_train_batches=1, limit_val_batches=1)
    trainer.fit(model, datamodule=data())
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    again = MultiTaskLSTM.load_from_checkpoint(tmp_path / "one.ckpt", weights_only=True)
    torch.testing.assert_close(dict(again.state_dict()), dict(model.state_dict()))
    assert again.reading.tolist() == [4, 1]
    assert torch.equal(again._read(one_batch().history).concept, one_batch().history.concept)


def test_other_tasks_and_impossible_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="NextPaths"):
        trainer_of(tmp_path).fit(model_of(), datamodule=data(NextAnswers()))
    model, other = model_of(), data(NextAnswers())
    other.setup()
    model.connect(other)
    assert model.reading.tolist() == [0, 0]
    with pytest.raises(SettingError, match="length=9"):
        trainer_of(tmp_path).fit(model_of(no_repeat=True), datamodule=data(NextPaths(4, 9)))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_concepts", None),
        ("hidden_size", 0),
        ("cell", "gru"),
        ("decoder", "copy"),
        ("lambda_tracing", -1),
        ("lambda_repeat", -0.5),
        ("repeat_of", "both"),
        ("beam_width", 0),
        ("dropout", 1.0),
        ("learning_rate", 0.0),
    ],
)
def test_bad_settings_are_refused(setting: str, value: object) -> None:
    with pytest.raises(SettingError, match=setting):
        MultiTaskLSTM(**{"num_concepts": 3, setting: value})  # type: ignore[arg-type]


def test_padding_of_histories_changes_nothing() -> None:
    model, batch = model_of().eval(), one_batch()
    history = batch.history
    wide = InteractionBatch(
        torch.nn.functional.pad(history.concept, (0, 0, 0, 2), value=-1),
        torch.nn.functional.pad(history.item, (0, 2), value=-1),
        torch.nn.functional.pad(history.correct, (0, 2), value=1.0),
        torch.nn.functional.pad(history.mask, (0, 2)),
        history.learner,
    )
    padded = replace(copy.copy(batch), history=wide)
    torch.testing.assert_close(model.losses(padded), model.losses(batch))
