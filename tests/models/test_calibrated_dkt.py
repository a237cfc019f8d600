"""CalibratedDKT predicts answers without sight of them, learns in two stages, and says mastery in one look."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import save_file

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import MissingFileError, SettingError
from lpr_lightning.models.calibrated_dkt import CalibratedDKT
from lpr_lightning.preparation import Preparation
from lpr_lightning.simulators.check import check_simulator
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import InteractionBatch, PathRequest, QuestionTracer

SIZES: dict[str, Any] = {"num_concepts": 6, "num_items": 18, "embedding_size": 8, "hidden_size": 12, "head_size": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticLearners:
    folder = str(tmp_path_factory.mktemp("data"))
    module = SyntheticLearners(
        num_concepts=6, num_items=18, num_learners=80, answers=(12, 24), cache_dir=folder, batch_size=16
    )
    module.setup("fit")
    return module


@pytest.fixture
def vectors(data: SyntheticLearners, tmp_path: Path) -> dict[str, str]:
    """Files of random question and concept vectors that have nothing to do with one another."""
    generator = torch.Generator().manual_seed(0)
    paths = {}
    for name, ids in (("embeddings", data.item_names), ("concept_embeddings", data.concept_names)):
        path = tmp_path / f"{name}.safetensors"
        save_file({"vectors": torch.randn(len(ids), 8, generator=generator)}, path, {"ids": json.dumps(ids)})
        paths[name] = str(path)
    return paths


def tracer(data: SyntheticLearners | None = None, **settings: Any) -> CalibratedDKT:
    torch.manual_seed(0)
    made = CalibratedDKT(**{**SIZES, **settings})
    if data is not None:
        made.connect(data)
    return made


def batch(data: SyntheticLearners, count: int = 4) -> InteractionBatch:
    return data.interactions("train").batch(torch.arange(count))


def fit(model: LightningModule, data: SyntheticLearners, epochs: int, *callbacks: Callback, **options: Any) -> Trainer:
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks),
        use_distributed_sampler=False,
        callbacks=list(callbacks),
    )
    torch.manual_seed(0)
    trainer.fit(model, datamodule=data, **options)
    return trainer


def test_it_is_a_question_tracer() -> None:
    assert isinstance(tracer(), QuestionTracer)


def test_an_answer_is_predicted_without_sight_of_itself_or_what_follows(data: SyntheticLearners) -> None:
    made, one = tracer(data).eval(), batch(data)
    changed = replace(one, correct=torch.where(torch.arange(one.mask.shape[1]) >= 5, 1 - one.correct, one.correct))
    later = replace(one, item=one.item.clone())
    later.item[:, 6:] = torch.where(one.mask[:, 6:], (one.item[:, 6:] + 1) % 18, -1)
    with torch.no_grad():
        before = made(one)
        torch.testing.assert_close(before[:, :5], made(changed)[:, :5])
        torch.testing.assert_close(before[:, :5], made(later)[:, :5])
        assert not torch.allclose(before[:, 5:], made(changed)[:, 5:])
        answers = made.test_step(changed, 0)["answers"]
    probability = torch.zeros(one.mask[:, 1:].shape).masked_scatter(one.mask[:, 1:], answers.probability)
    torch.testing.assert_close(probability[:, :5], before[:, :5].sigmoid())


def test_stepwise_predictions_equal_those_of_the_whole_log(data: SyntheticLearners) -> None:
    made, one = tracer(data).eval(), batch(data)
    with torch.no_grad():
        whole = made(one).sigmoid()
        state = made.initial_state(4)
        for step in range(int(one.lengths.min()) - 1):
            state = made.observe_item(state, one.item[:, step], one.correct[:, step])
            torch.testing.assert_close(made.predict_item(state, one.item[:, step + 1]), whole[:, step])
            for concept in range(6):
                predicted = made.predict(state, torch.full((4,), concept))
                torch.testing.assert_close(predicted, made.mastery(state)[:, concept])


def test_evaluation_gives_the_real_next_answers_in_row_order(data: SyntheticLearners) -> None:
    made, one = tracer(data).eval(), batch(data)
    with torch.no_grad():
        answers = made.validation_step(one, 0)["answers"]
        following = one.mask[:, 1:]
        torch.testing.assert_close(answers.probability, made(one).sigmoid()[following])
    assert torch.equal(answers.correct, one.correct[:, 1:][following])
    assert torch.equal(answers.item, one.item[:, 1:][following])
    assert torch.equal(answers.concept, one.concept[:, 1:][following])
    assert torch.equal(answers.learner, one.learner[:, None].expand_as(following)[following])


def test_padding_and_what_lies_under_it_change_nothing(data: SyntheticLearners) -> None:
    made, one = tracer(data).eval(), batch(data)
    filled = replace(
        one,
        item=torch.where(one.mask, one.item, 3),
        concept=torch.where(one.mask[..., None], one.concept, 1),
        correct=torch.where(one.mask, one.correct, 1.0),
    )
    with torch.no_grad():
        torch.testing.assert_close(made(one), made(filled))
        torch.testing.assert_close(made.encode(one), made.encode(filled))
        longer = made.encode(one.select(torch.tensor([1])))
        torch.testing.assert_close(tuple(part[1:2] for part in made.encode(one)), longer)


def test_histories_without_questions_or_answers_are_followed(data: SyntheticLearners) -> None:
    made, one = tracer(data).eval(), batch(data)
    with torch.no_grad():
        state = made.encode(replace(one, item=torch.full_like(one.item, -1)))
        by_steps = made.initial_state(4)
        for step in range(one.mask.shape[1]):
            after = made.observe(by_steps, one.concept[:, step].clamp_min(0), one.correct[:, step])
            going = one.mask[:, step, None]
            by_steps = tuple(torch.where(going, new, old) for new, old in zip(after, by_steps))
        torch.testing.assert_close(state, by_steps)
        assert not bool(made.encode(InteractionBatch.empty(2))[0].any())


def test_mastery_by_halves_equals_the_plain_head(data: SyntheticLearners) -> None:
    made, one = tracer(data).eval(), batch(data)
    with torch.no_grad():
        state = made.encode(one)
        hidden = state[0][:, None].expand(-1, 6, -1)
        plain = made.net.head(hidden, made.net.table.concepts().expand(4, -1, -1)).sigmoid()
        torch.testing.assert_close(made.mastery(state), plain, rtol=0, atol=1e-5)
        several = torch.tensor([[0, 3], [0, 3], [5, -1], [1, 1]])
        expected = [(plain[0, 0].logit() + plain[0, 3].logit()) / 2, plain[2, 5].logit()]
        predicted = made.predict(state, several).logit()
        torch.testing.assert_close(predicted[[0, 2]], torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_many_candidates_at_once_are_what_they_are_alone(data: SyntheticLearners) -> None:
    made = tracer(data).eval()
    concept, correct = torch.tensor([[0, 2, 5], [1, 1, 3]]), torch.tensor([[1.0, 0.0, 0.3], [1.0, 0.0, 1.0]])
    with torch.no_grad():
        state = made.encode(batch(data, 2))
        together = made.observe_each(state, concept, correct)
        copies = tuple(part.repeat_interleave(3, 0) for part in state)
        torch.testing.assert_close(together, made.observe(copies, concept.flatten(), correct.flatten()))
        some = made.mastery_of(together, concept)
        torch.testing.assert_close(some, made.mastery(together).gather(1, concept.repeat_interleave(3, 0)))


@pytest.mark.parametrize("files", [False, True])
@pytest.mark.parametrize("freeze", [True, False])
def test_one_step_changes_what_its_stage_trains_and_nothing_else(
    data: SyntheticLearners, vectors: dict[str, str], files: bool, freeze: bool
) -> None:
    made = tracer(data, freeze_lstm=freeze, **(vectors if files else {}))
    changed: dict[bool, set[str]] = {}

    class Watch(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            self.before = {name: weight.detach().clone() for name, weight in made.named_parameters()}

        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            found = {name for name, weight in made.named_parameters() if not torch.equal(weight, self.before[name])}
            changed.setdefault(made.calibrating, set()).update(found)

    fit(made, data, 2, Watch())
    names = {name for name, _ in made.named_parameters() if name.startswith("net.")}
    memory = {name for name in names if name.startswith(("net.lstm.", "net.answer."))}
    vectors_of_items = {"net.table.own", "net.table.base"} & names
    assert len(vectors_of_items) == (0 if files else 2)
    assert changed[False] == names - {"net.table.shift"}
    assert changed[True] == names - vectors_of_items - (memory if freeze else set())


def test_two_learners_can_be_learned_by_heart(data: SyntheticLearners) -> None:
    made, two = tracer(data), batch(data, 2)
    optimizer = torch.optim.Adam(made.net.parameters(), 1e-2)
    for _ in range(200):
        loss = made._answer_losses(two)["answers"]
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert float(loss.detach()) < 0.05


def test_stage_two_starts_from_the_best_weights_and_keeps_them(data: SyntheticLearners) -> None:
    made = tracer(data, calibration_epochs=2, freeze_lstm=False)
    seen: list[tuple[str, float, float, dict[str, torch.Tensor]]] = []

    class Watch(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            if made.calibrating and int(made.began) == trainer.current_epoch and batch_idx == 0:
                self.start = {name: value.clone() for name, value in made.net.state_dict().items()}
                assert not trainer.optimizers[0].state

        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if not trainer.sanity_checking:
                auc, selection = (float(trainer.callback_metrics[f"val/{name}"]) for name in ("auc", "selection"))
                weights = {name: value.clone() for name, value in made.net.state_dict().items()}
                seen.append((made.stage_name, auc, selection, weights))

    watch = Watch()
    fit(made, data, 6, watch)
    assert [one[0] for one in seen] == ["next answers"] * 4 + ["calibration"] * 2
    best = max(seen[:4], key=lambda one: one[1])[3]
    for name, value in watch.start.items():
        assert torch.equal(value, best[name]), name
    for name, weight in made.frozen.named_parameters():
        assert torch.equal(weight, best[name]), name
    selections = [one[2] for one in seen]
    assert selections[:4] == sorted(selections[:4])
    assert max(selections[:4]) < 0 <= min(selections[4:])


def test_stage_two_comes_early_without_growth_and_training_ends_after_it(data: SyntheticLearners) -> None:
    made = tracer(data, calibration_epochs=2, patience=1, learning_rate=1e-9)
    trainer = fit(made, data, 20)
    assert int(made.began) == 2
    assert trainer.current_epoch == 4
    assert fit(tracer(data, pretrain_epochs=1, calibration_epochs=3), data, 20).current_epoch == 4


def test_the_chosen_checkpoint_is_calibrated_and_needs_neither_files_nor_data(
    data: SyntheticLearners, vectors: dict[str, str], tmp_path: Path
) -> None:
    made = tracer(data, **vectors, calibration_epochs=2)
    saver = ModelCheckpoint(tmp_path, monitor=made.monitor[0], mode=made.monitor[1])
    trainer = fit(made, data, 5, saver)
    for path in vectors.values():
        Path(path).unlink()
    again = CalibratedDKT.load_from_checkpoint(saver.best_model_path, weights_only=True).eval()
    assert again.calibrating
    one = batch(data)
    with torch.no_grad():
        made.load_state_dict(torch.load(saver.best_model_path, weights_only=True)["state_dict"])
        made.eval()
        torch.testing.assert_close(again.mastery(again.encode(one)), made.mastery(made.encode(one)), rtol=0, atol=0)
    assert again.frozen.table.item_vectors is again.net.table.item_vectors
    trainer.test(again, datamodule=data, verbose=False)
    wanted = {"auc", "auc_before", "concept_mae", "concept_mae_sampled", "concept_mae_before", "concept_mae_target"}
    assert {f"test/{name}" for name in wanted} <= set(trainer.callback_metrics)


def test_a_fresh_module_can_go_on_from_a_checkpoint_without_the_files(
    data: SyntheticLearners, vectors: dict[str, str], tmp_path: Path
) -> None:
    saver = ModelCheckpoint(tmp_path, filename="last")
    fit(tracer(data, **vectors, calibration_epochs=1), data, 2, saver)
    for path in vectors.values():
        Path(path).unlink()
    alone = tracer(None, **vectors, calibration_epochs=1)
    fit(alone, data, 2, ckpt_path=str(tmp_path / "last.ckpt"), weights_only=True)
    assert alone.calibrating


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(
    data: SyntheticLearners, tmp_path: Path, stop: int
) -> None:
    settings: dict[str, Any] = {"pretrain_epochs": 3, "calibration_epochs": 3, "dropout": 0.0, "freeze_lstm": False}
    whole = tracer(data, **settings)
    fit(whole, data, 6)
    part = tracer(data, **settings)
    fit(part, data, stop, ModelCheckpoint(tmp_path, filename="last"))
    resumed = tracer(data, **settings)
    fit(resumed, data, 6, ckpt_path=str(tmp_path / "last.ckpt"), weights_only=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_calibration_brings_foreign_concept_vectors_close(data: SyntheticLearners, vectors: dict[str, str]) -> None:
    made = tracer(data, **vectors, learning_rate=1e-2, calibration_learning_rate=3e-3, calibration_epochs=25)
    trainer = fit(made, data, 35)
    trainer.test(made, datamodule=data, verbose=False)
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert figures["test/concept_mae_before"] > 2 * figures["test/concept_mae_target"]
    assert figures["test/auc"] > figures["test/auc_before"] - 0.02


@pytest.mark.parametrize("joint", [True, False])
def test_the_joint_loss_is_a_flag(data: SyntheticLearners, joint: bool) -> None:
    made = tracer(data, joint=joint, calibration_epochs=1)
    trainer = fit(made, data, 2)
    assert ("train/loss_answers" in trainer.callback_metrics) is True
    made.trainer = trainer
    assert set(made._calibration_losses(batch(data), 0)) == ({"concepts", "answers"} if joint else {"concepts"})


def test_targets_are_the_frozen_models_mean_over_questions(data: SyntheticLearners) -> None:
    made, one = tracer(data, questions_per_concept=None).eval(), batch(data)
    hidden = made.net(one).hidden[:, :-1][one.mask[:, 1:]].detach()
    group = torch.arange(len(hidden)) % 6
    with torch.no_grad():
        for weight in made.net.head.parameters():
            weight.add_(1)
        answers = made.frozen.item_logits((hidden,)).sigmoid()
        target = made._targets(one, hidden, group, torch.Generator())
    of = data.item_concepts[:, 0]
    expected = torch.stack([answers[row, of == g].mean() for row, g in enumerate(group.tolist())])
    torch.testing.assert_close(target, expected)


def test_it_is_trained_and_calibrated_inside_a_simulator_that_keeps_the_rules(
    data: SyntheticLearners, tmp_path: Path
) -> None:
    def simulator() -> KESSimulator:
        return KESSimulator(tracer(calibration_epochs=2, patience=10))

    preparation = Preparation(tracer_epochs=7, tracer_patience=1, cache_dir=str(tmp_path), announce=False)
    first, second = simulator(), simulator()
    for one in (first, second):
        preparation.train_simulator(one, data)
        assert one.tracer.calibrating
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
    torch.testing.assert_close(dict(first.state_dict()), dict(second.state_dict()))
    examples = PathRequests(length=4, min_distinct=4).examples(data.interactions("train"), "train", 6, 0)
    request: PathRequest = examples.batch(torch.arange(min(6, len(examples.sizes))))
    check_simulator(first, request)
    state = first.start(request)
    concept = torch.tensor([[0, 3]]).expand(len(request), -1)
    after, _, _ = first.lookahead(state, concept)
    one_by_one = first.step(state, concept[:, 1])[0]
    torch.testing.assert_close(tuple(part[1::2] for part in after), one_by_one)
    assert first.assess(after, request.targets)[0].shape == (2 * len(request),)


def test_clusters_make_a_concept_stand_for_its_clusters_questions(data: SyntheticLearners, tmp_path: Path) -> None:
    path = tmp_path / "clusters.json"
    path.write_text(json.dumps({"first": data.concept_names[:2]}))
    made = tracer(data, clusters=str(path))
    assert made.net.table.group.tolist() == [0, 0, 2, 3, 4, 5]
    assert made.net.table.count.tolist() == [6, 0, 3, 3, 3, 3]
    trainer = fit(made, data, 2)
    assert "val/concept_mae" in trainer.callback_metrics


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"questions_per_concept": 4, "with_replacement": False}, ["questions_per_concept=4", "at most 3", "null"]),
        ({"num_items": 17}, ["num_items=17", "18"]),
    ],
)
def test_what_does_not_fit_the_data_is_refused_with_advice(
    data: SyntheticLearners, settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(SettingError) as caught:
        tracer(data, **settings)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_missing_file_is_told_when_the_data_are_there(data: SyntheticLearners) -> None:
    made = tracer(embeddings="nowhere/questions.npy")
    with pytest.raises(MissingFileError, match="learn them by id"):
        made.connect(data)


def test_training_needs_the_datas_map(data: SyntheticLearners) -> None:
    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_model_summary=False)
    with pytest.raises(SettingError, match="connect"):
        trainer.fit(tracer(), data.batches("train", NextAnswers(), 8, False))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_concepts", None),
        ("num_items", 0),
        ("hidden_size", 0),
        ("dropout", 1.0),
        ("learning_rate", 0.0),
        ("questions_per_concept", 0),
        ("calibration_epochs", 0),
        ("concept_embeddings", "concepts.npy"),
    ],
)
def test_bad_settings_are_refused(setting: str, value: object) -> None:
    build: Callable[..., CalibratedDKT] = CalibratedDKT
    with pytest.raises(SettingError, match=setting):
        build(**{**SIZES, setting: value})
