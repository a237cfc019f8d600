"""DKT predicts each answer from earlier ones only, and learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import load_module
from lpr_lightning.models.dkt import DKT
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import Answers, Exercise, InteractionBatch, Interactions


def batch(concepts: int = 5) -> InteractionBatch:
    generator = torch.Generator().manual_seed(0)
    rows = [
        [(int(c), int(c) % 2) for c in torch.randint(concepts, (length,), generator=generator)] for length in (9, 4, 2)
    ]
    return Interactions.from_lists(rows).batch(torch.arange(3))


def test_it_is_a_tracer() -> None:
    assert isinstance(DKT(3), Tracer)


def test_an_answer_is_predicted_without_sight_of_itself_or_what_follows() -> None:
    tracer, one = DKT(5).eval(), batch()
    changed = InteractionBatch(one.concept, one.item, one.correct.clone(), one.mask, one.learner)
    changed.correct[:, 3:] = 1 - changed.correct[:, 3:]
    with torch.no_grad():
        torch.testing.assert_close(tracer(one)[:, :3], tracer(changed)[:, :3])
        assert not torch.allclose(tracer(one)[:, 3:], tracer(changed)[:, 3:])


@torch.no_grad()
def test_stepwise_predictions_equal_those_of_the_whole_log() -> None:
    tracer, one = DKT(5, num_layers=2).eval(), batch().select(torch.tensor([0]))
    whole, state = tracer(one).sigmoid(), tracer.initial_state(1)
    for step in range(8):
        state = tracer.observe(state, one.asked(step), one.correct[:, step])
        predicted = tracer.predict(state, one.asked(step + 1))
        torch.testing.assert_close(predicted[0], whole[0, step])
        torch.testing.assert_close(tracer.mastery(state)[0, one.concept[0, step + 1, 0]], predicted[0])


@torch.no_grad()
def test_several_concepts_count_as_the_mean_of_their_logits() -> None:
    tracer = DKT(5).eval()
    state = tracer.encode(batch())
    asked = Exercise(torch.tensor([[0, 3], [0, 3], [0, -1]]), torch.full((3,), -1))
    both, mastery = tracer.predict(state, asked), tracer.mastery(state)
    expected = (mastery[:2, 0].logit() + mastery[:2, 3].logit()) / 2
    torch.testing.assert_close(both[:2].logit(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both[2], mastery[2, 0])


def test_one_step_changes_every_weight_and_two_learners_can_be_learned_by_heart() -> None:
    torch.manual_seed(0)
    tracer, one = DKT(5, dropout=0.0), batch()
    before = {name: weight.clone() for name, weight in tracer.named_parameters()}
    optimizer = torch.optim.Adam(tracer.parameters(), 1e-2)
    target, mask = one.correct[:, 1:], one.mask[:, 1:]
    for step in range(150):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(tracer(one)[mask], target[mask])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if step == 0:
            assert all(not torch.equal(before[name], weight) for name, weight in tracer.named_parameters())
    assert float(loss.detach()) < 0.05


def test_loss_and_gradients_equal_those_of_a_plain_padded_loop() -> None:
    tracer, one = DKT(5, dropout=0.0).double(), batch()
    correct = one.correct.double()
    hidden, _ = tracer.net.lstm(tracer.net.embedding(one.concept[:, :-1, 0].clamp_min(0) + 5 * correct[:, :-1].long()))
    predicted = tracer.net.head(hidden).sigmoid().gather(2, one.concept[:, 1:].clamp_min(0))[..., 0]
    mask = one.mask[:, 1:]
    plain = torch.nn.functional.binary_cross_entropy(predicted[mask], correct[:, 1:][mask])
    ours = tracer.losses(InteractionBatch(one.concept, one.item, correct, one.mask, one.learner))["answers"]
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(loss, list(tracer.parameters())) for loss in (ours, plain)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-10)


def test_evaluation_returns_every_real_next_answer_once() -> None:
    tracer, one = DKT(5).eval(), batch()
    with torch.no_grad():
        answers = tracer.validation_step(one, 0)["answers"]
        again = tracer.test_step(one, 0)["answers"]
        whole = tracer(one).sigmoid()
    torch.testing.assert_close(vars(answers), vars(again))
    assert isinstance(answers, Answers)
    assert len(answers) == int(one.mask[:, 1:].sum()) == 12
    assert answers.concept.shape == (12, 1)
    assert torch.equal(answers.item, answers.concept[:, 0])
    for row in range(3):
        own, real = answers.learner == one.learner[row], one.mask[row, 1:]
        torch.testing.assert_close(answers.probability[own], whole[row][real])
        assert torch.equal(answers.correct[own], one.correct[row, 1:][real])
        assert torch.equal(answers.item[own], one.item[row, 1:][real])


@pytest.mark.parametrize("steps", [0, 1])
def test_a_batch_without_a_next_answer_is_no_error(steps: int) -> None:
    tracer, one = DKT(5), batch()
    short = InteractionBatch(
        one.concept[:, :steps], one.item[:, :steps], one.correct[:, :steps], one.mask[:, :steps], one.learner
    )
    loss = tracer.losses(short)["answers"]
    torch.autograd.backward(loss)
    assert float(loss.detach()) == 0
    assert not len(tracer.answers(short))
    assert tracer(short).shape == (3, 0)


def test_a_checkpoint_rebuilds_it_without_the_command_line(tmp_path: Path) -> None:
    tracer = DKT(5, hidden_size=7)
    trainer = Trainer(max_epochs=0, logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(tracer)
    trainer.save_checkpoint(tmp_path / "dkt.ckpt")
    again = DKT.load_from_checkpoint(tmp_path / "dkt.ckpt", weights_only=True)
    assert again.net.hidden_size == 7
    torch.testing.assert_close(dict(again.state_dict()), dict(tracer.state_dict()))
    alone = load_module(tmp_path / "dkt.ckpt")
    assert isinstance(alone, DKT)
    torch.testing.assert_close(dict(alone.state_dict()), dict(tracer.state_dict()))


@pytest.mark.parametrize(
    ("setting", "value"), [("num_concepts", None), ("hidden_size", 0), ("dropout", 1.0), ("learning_rate", 0.0)]
)
def test_bad_settings_are_refused(setting: str, value: object) -> None:
    with pytest.raises(SettingError, match=setting):
        DKT(**{"num_concepts": 3, setting: value})  # type: ignore[arg-type]
