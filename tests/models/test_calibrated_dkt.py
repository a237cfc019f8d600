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
from lpr_lightning.draws import Draws
from lpr_lightning.errors import MissingFileError, SettingError
from lpr_lightning.models.calibrated_dkt import CalibratedDKT
from lpr_lightning.nets.question_head import QuestionHead
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import Answers, InteractionBatch, Interactions

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


def test_it_is_a_tracer() -> None:
    assert isinstance(tracer(), Tracer)


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
    assert isinstance(answers, Answers)
    probability = torch.zeros(one.mask[:, 1:].shape).masked_scatter(one.mask[:, 1:], answers.probability)
    torch.testing.assert_close(probability[:, :5], before[:, :5].sigmoid())


def test_stepwise_predictions_equal_those_of_the_whole_log(data: SyntheticLearners) -> None:
    made, one = tracer(data).eval(), batch(data)
    with torch.no_grad():
        whole = made(one).sigmoid()
        state = made.initial_state(4)
        for step in range(int(one.lengths.min()) - 1):
            state = made.observe(state, one.asked(step), one.correct[:, step])
            torch.testing.assert_close(made.predict(state, one.asked(step + 1)), whole[:, step])


def test_evaluation_gives_the_real_next_answers_in_row_order(data: SyntheticLearners) -> None:
    made, one = tracer(data).eval(), batch(data)
    with torch.no_grad():
        answers = made.validation_step(one, 0)["answers"]
        assert isinstance(answers, Answers)
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
        loss = made.losses(two)["answers"]
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
            if made.calibrating and int(made.stage_state[1]) == trainer.current_epoch and batch_idx == 0:
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
    for name, weight in made.calibration.frozen.named_parameters():
        assert torch.equal(weight, best[name]), name
    selections = [one[2] for one in seen]
    assert selections[:4] == sorted(selections[:4])
    assert max(selections[:4]) < 1 <= min(selections[4:])


def test_stage_two_comes_early_without_growth_and_training_ends_after_it(data: SyntheticLearners) -> None:
    made = tracer(data, calibration_epochs=2, patience=1, learning_rate=1e-9)
    trainer = fit(made, data, 20)
    assert int(made.stage_state[1]) == 2
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
    assert again.calibration.frozen.table.item_vectors is again.net.table.item_vectors
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

    class Stop(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            trainer.should_stop = trainer.current_epoch + 1 == stop

    part = tracer(data, **settings)
    fit(part, data, 6, ModelCheckpoint(tmp_path, filename="last"), Stop())
    assert part.calibrating is (stop > 3)
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
    assert ("train/loss_answers" in trainer.callback_metrics) is joint
    assert "train/loss" in trainer.callback_metrics


def test_random_numbers_of_a_learner_do_not_depend_on_the_batch(data: SyntheticLearners) -> None:
    made, one = tracer(data, joint=False).eval(), batch(data)
    groups = Draws.of(0, 5, torch.arange(6))

    def loss(rows: list[int]) -> tuple[float, int]:
        some = one.select(torch.tensor(rows))
        draws = Draws.of(0, 3, some.learner)
        losses = made.calibration.losses(made.net, some, draws, groups)
        return float(losses["concepts"].detach()), int(some.mask[:, 1:].sum())

    parts = [loss([0, 2]), loss([1, 3])]
    whole, answers = loss([0, 1, 2, 3])
    assert whole == pytest.approx(sum(value * count for value, count in parts) / answers, rel=1e-5)


def concept_errors(made: CalibratedDKT, *batches: InteractionBatch) -> dict[str, float]:
    made.eval()
    with torch.no_grad():
        for one in batches:
            made.test_step(one, 0)
    return {name: float(value) for name, value in made.figures("test").items() if name.startswith("concept")}


def spread(made: CalibratedDKT) -> CalibratedDKT:
    """Questions that differ, so that mastery is not the mean over them."""
    assert made.net.table.own is not None
    torch.nn.init.normal_(made.net.table.own)
    made.calibration.remember(made.net)
    return made


def test_the_concept_error_is_that_of_a_loop(data: SyntheticLearners) -> None:
    made, one = spread(tracer(data, error_concepts=None, error_states=2)).eval(), batch(data)
    gaps = []
    with torch.no_grad():
        for row, length in enumerate(one.lengths.tolist()):
            for answers in (-(-length // 2), length):
                log = one.select(torch.tensor([row])).first(torch.tensor([answers]))
                state = made.encode(log)
                chance, mastery = made.net.item_logits(state)[0].sigmoid(), made.mastery(state)[0]
                for concept in range(6):
                    questions = (data.item_concepts == concept).any(1)
                    gaps.append(abs(float(mastery[concept] - chance[questions].mean())))
    assert concept_errors(made, one)["concept_mae"] == pytest.approx(sum(gaps) / len(gaps), rel=1e-4)


def test_the_concept_error_is_measured_on_a_sample_that_batches_do_not_change(data: SyntheticLearners) -> None:
    made, one = spread(tracer(data, error_concepts=3)), batch(data, 8)
    whole = concept_errors(made, one)
    rows = [one.select(torch.tensor([row])) for row in (5, 0, 7, 3, 1, 2, 6, 4)]
    assert concept_errors(made, *rows) == pytest.approx(whole, rel=1e-4)
    every = concept_errors(spread(tracer(data, error_concepts=None)), one)
    assert whole["concept_mae"] != pytest.approx(every["concept_mae"], rel=1e-6)
    assert whole["concept_mae"] == pytest.approx(every["concept_mae"], rel=0.5)


def test_the_sample_does_not_grow_with_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    plain = QuestionHead.logits

    def logits(head: QuestionHead, state: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        found = plain(head, state, *others)
        counted.append(found.numel())
        return found

    monkeypatch.setattr(QuestionHead, "logits", logits)
    monkeypatch.setattr("lpr_lightning.models.calibrated_dkt.MOST_QUESTIONS", 4)
    asked = []
    for concepts, questions in ((10, 40), (10, 400), (100, 400), (100, 4000)):
        made = tracer(num_concepts=concepts, num_items=questions, error_concepts=5)
        made.net.table.attach(torch.arange(questions)[:, None] % concepts)
        one = Interactions.from_lists([[(0, 1)] * 4] * 3).batch(torch.arange(3))
        counted.clear()
        with torch.no_grad():
            made.validation_step(one, 0)
        asked.append(sum(counted))
    assert asked == [3 * 2 * 5 * (1 + 4)] * 4


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
        trainer.fit(tracer(), data.batches("train"))


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


PARTS: dict[str, Any] = {"embedding_size": 5, "given_size": 8, "add_concepts": True, "add_shift": True}


def unanswered(data: SyntheticLearners) -> torch.Tensor:
    """Return the questions of none of the four learners of the small batch, [Q] bool."""
    one = batch(data)
    return ~torch.isin(torch.arange(18), one.item[one.mask])


@pytest.mark.parametrize("dropped", [0.0, 0.5])
def test_every_part_of_a_question_changes_in_one_step(
    data: SyntheticLearners, vectors: dict[str, str], dropped: float
) -> None:
    files = {"embeddings": vectors["embeddings"]}
    made = tracer(data, **files, **PARTS, shift_dropout=dropped)
    before = {name: value.clone() for name, value in made.net.named_parameters()}
    optimizer = torch.optim.AdamW(made.net.parameters(), 1e-2, weight_decay=0.0)
    torch.stack(list(made.losses(batch(data)).values())).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    changed = {name for name, value in made.net.named_parameters() if not torch.equal(value, before[name])}
    assert changed == set(before) - {"table.shift"}
    own = made.net.table.own
    assert own is not None
    moved = (own != 0).any(1)
    assert not bool(moved[unanswered(data)].any())
    assert int(moved.sum()) > 0


def test_questions_without_answers_have_no_shift_after_a_fit(vectors: dict[str, str], tmp_path: Path) -> None:
    folder, answers = str(tmp_path / "cache"), (3, 5)
    data = SyntheticLearners(num_concepts=6, num_items=18, num_learners=10, answers=answers, cache_dir=folder)
    data.setup("fit")
    seen = torch.zeros(18, dtype=torch.bool)
    seen[data.interactions("train").item.long()] = True
    assert not bool(seen.all())
    made = tracer(data, embeddings=vectors["embeddings"], **PARTS, shift_dropout=0.5, calibration_epochs=1)
    saver = ModelCheckpoint(tmp_path, filename="last")
    fit(made, data, 3, saver)
    own = made.net.table.own
    assert own is not None
    moved = (own != 0).any(1)
    assert bool(moved.any())
    assert not bool((moved & ~seen).any())
    Path(vectors["embeddings"]).unlink()
    again = CalibratedDKT.load_from_checkpoint(str(tmp_path / "last.ckpt"), weights_only=True).eval()
    made.eval()
    one = batch(data)
    with torch.no_grad():
        assert torch.equal(again.mastery(again.encode(one)), made.mastery(made.encode(one)))
        state = made.encode(one)
        items = made.net.item_logits(state).sigmoid().gather(1, one.item[:, 1:2])[:, 0]
        torch.testing.assert_close(made.predict(state, one.asked(1)), items)
        alone = one.select(torch.tensor([2])).first(one.lengths[2:3])
        torch.testing.assert_close(made(alone)[0], made(one)[2, : alone.mask.shape[1] - 1])


def test_parts_leave_vectors_by_id_as_they_were(data: SyntheticLearners) -> None:
    plain, named = tracer(data), tracer(data, shift_dropout=0.0, map_decay=9.0)
    fit(plain, data, 2)
    fit(named, data, 2)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, named.state_dict()[name]), name


def test_what_is_left_out_depends_on_the_step_alone(data: SyntheticLearners, vectors: dict[str, str]) -> None:
    made = tracer(data, embeddings=vectors["embeddings"], **PARTS, shift_dropout=0.5, dropout=0.0)
    torch.nn.init.normal_(made.net.table.own)  # type: ignore[arg-type]
    one = batch(data)
    with torch.no_grad():
        whole, plain = made(one), made.eval()(one)
        assert torch.equal(whole, made.train()(one))
        assert not torch.allclose(whole, plain)
        alone = one.select(torch.tensor([1]))
        length = int(one.lengths[1]) - 1
        torch.testing.assert_close(made(alone)[0, :length], whole[1, :length])


@pytest.mark.parametrize("part", [{"given_size": 8}, {"add_concepts": True}, {"add_shift": True}])
def test_parts_on_top_of_nothing_are_refused(part: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(part))):
        tracer(**part)


def test_leaving_out_a_shift_that_is_not_there_is_refused(vectors: dict[str, str]) -> None:
    with pytest.raises(SettingError, match="add_shift"):
        tracer(embeddings=vectors["embeddings"], shift_dropout=0.5)
