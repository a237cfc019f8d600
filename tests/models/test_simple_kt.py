"""SimpleKT predicts each answer from earlier ones only, learns, and serves as a simulator's learner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import SettingError
from lpr_lightning.models.simple_kt import SimpleKT
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import Answers, InteractionBatch, Interactions

SMALL: dict[str, Any] = {"width": 8, "num_heads": 2, "window": 6, "num_layers": 2}


def tracer(**settings: object) -> SimpleKT:
    torch.manual_seed(0)
    made = SimpleKT(5, 7, **{**SMALL, **settings}).eval()
    torch.nn.init.normal_(made.net.embedding.difficulty.weight)
    return made


def batch() -> InteractionBatch:
    generator = torch.Generator().manual_seed(0)
    lengths = (9, 4, 2)
    rows = [[(int(c), int(c) % 2) for c in torch.randint(5, (n,), generator=generator)] for n in lengths]
    return Interactions.from_lists(rows).batch(torch.arange(3))


def test_it_is_a_tracer() -> None:
    assert isinstance(tracer(), Tracer)


@torch.no_grad()
def test_an_answer_is_predicted_without_sight_of_itself_or_what_follows() -> None:
    one, model = batch(), tracer()
    changed = replace(one, correct=one.correct.clone())
    changed.correct[:, 3:] = 1 - changed.correct[:, 3:]
    torch.testing.assert_close(model(one)[:, :3], model(changed)[:, :3], rtol=0, atol=0)
    assert not torch.allclose(model(one)[:, 3:], model(changed)[:, 3:])


@torch.no_grad()
def test_padding_changes_nothing() -> None:
    one, model = batch(), tracer()
    padded = replace(one, correct=torch.where(one.mask, one.correct, 1.0), item=one.item.masked_fill(~one.mask, 3))
    real = one.mask[:, 1:]
    torch.testing.assert_close(model(one)[real], model(padded)[real])
    for part, other in zip(model.encode(one), model.encode(padded)):
        torch.testing.assert_close(part, other)


@torch.no_grad()
def test_stepwise_predictions_equal_those_of_the_whole_log() -> None:
    model, log = tracer(), batch()
    log = replace(log, item=torch.where(log.item == 2, 6, log.item)).select(torch.tensor([0]))
    for one in (log, replace(log, item=torch.full_like(log.item, -1))):
        whole, state = model(one).sigmoid(), model.initial_state(1)
        for step in range(8):
            state = model.observe(state, one.asked(step), one.correct[:, step])
            predicted = model.predict(state, one.asked(step + 1))[0]
            torch.testing.assert_close(predicted, whole[0, step])
    torch.testing.assert_close(model.mastery(state)[0, one.concept[0, step + 1, 0]], predicted)


def test_first_answers_are_learned_from_and_difficulties_are_held_small() -> None:
    model, one = tracer(dropout=0.0, item_dropout=0.0), batch()
    plain = torch.nn.functional.binary_cross_entropy_with_logits(model.net.logits(one)[one.mask], one.correct[one.mask])
    torch.testing.assert_close(model.losses(one), {"answers": plain})
    model = tracer(difficulty_decay=2.0)
    asked = model.net.embedding.difficulty.weight[one.item[one.mask], 0]
    torch.testing.assert_close(model.losses(one)["difficulty"], 2 * asked.square().mean())


def test_questions_are_hidden_from_training_steps_alone() -> None:
    model, one = tracer(dropout=0.0, item_dropout=0.999), batch()
    blind = replace(one, item=torch.full_like(one.item, -1))
    torch.manual_seed(0)
    torch.testing.assert_close(model.losses(one), tracer(dropout=0.0, item_dropout=0.0).losses(blind))
    assert not torch.allclose(model(one), model(blind))


def test_one_step_changes_every_weight_and_two_learners_can_be_learned_by_heart() -> None:
    model, one = tracer(dropout=0.0).train(), batch()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    real = one.mask[:, 1:]
    asked = {f"net.embedding.{name}.weight" for name in ("concept", "variation", "difficulty")}
    for step in range(150):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(one)[real], one.correct[:, 1:][real])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if step == 0:
            same = {name for name, weight in model.named_parameters() if torch.equal(before[name], weight)}
            assert not same - asked
            assert not same & asked or model.net.embedding.difficulty.weight.grad is not None
    assert float(loss.detach()) < 0.05


def test_its_steps_return_answers_and_a_checkpoint_rebuilds_it_without_data(tmp_path: Path) -> None:
    data = SyntheticLearners(num_learners=40, num_concepts=5)
    model = SimpleKT(data.num_concepts, data.num_items, **SMALL)
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, **quiet)
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    again = SimpleKT.load_from_checkpoint(tmp_path / "one.ckpt", weights_only=True).eval()
    one = next(iter(data.test_dataloader()))
    assert isinstance(one, InteractionBatch)
    with torch.no_grad():
        answers = again.test_step(one, 0)["answers"]
        assert isinstance(answers, Answers)
        assert len(answers) == int(one.mask[:, 1:].sum())
        torch.testing.assert_close(answers.probability, model.eval().answers(one).probability)
        state, asked = again.encode(one), one.asked(0)
        torch.testing.assert_close(again.predict(state, asked), model.predict(state, asked))


def test_only_matrices_decay() -> None:
    decayed, others = tracer().configure_optimizers().param_groups
    assert decayed["weight_decay"] > 0 == others["weight_decay"]
    assert all(weight.dim() == 2 for weight in decayed["params"])
    assert {weight.shape[1] for weight in others["params"] if weight.dim() == 2} == {1, SMALL["window"]}


BAD: dict[str, object] = {
    "num_concepts": None,
    "num_items": None,
    "width": 9,
    "window": 0,
    "num_layers": 0,
    "num_heads": 0,
}
BAD |= {"dropout": 1.0, "item_dropout": -0.1, "learning_rate": 0.0, "weight_decay": -1.0, "difficulty_decay": -1.0}


@pytest.mark.parametrize(("setting", "value"), BAD.items())
def test_bad_settings_are_refused(setting: str, value: object) -> None:
    with pytest.raises(SettingError, match=setting):
        SimpleKT(**{"num_concepts": 3, "num_items": 3, **SMALL, setting: value})
