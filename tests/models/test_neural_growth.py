"""NeuralGrowth: what it takes from the data, and how it is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import load_module
from lpr_lightning.models.neural_growth import NeuralGrowth
from lpr_lightning.types import Exercise, Interactions


def data(folder: Path) -> SyntheticLearners:
    return SyntheticLearners(num_concepts=10, num_learners=60, answers=(20, 40), batch_size=64, cache_dir=str(folder))


def small(gate: bool = True) -> NeuralGrowth:
    torch.manual_seed(0)
    return NeuralGrowth(10, embedding_size=6, hidden_size=7, gate=gate)


@pytest.mark.parametrize("gate", [True, False])
def test_a_fit_changes_every_weight_and_a_checkpoint_has_the_prerequisites(gate: bool, tmp_path: Path) -> None:
    tracer, learners = small(gate), data(tmp_path)
    assert tracer.connected == (not gate)
    before = {name: weight.clone() for name, weight in tracer.named_parameters()}
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(tracer, learners)
    after = dict(tracer.named_parameters())
    resting = {name for name in before if torch.equal(before[name], after[name])}
    assert resting == (set() if gate else {"net.gate.weight"})
    assert tracer.connected
    assert tracer.net.gate.active == gate
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    torch.load(tmp_path / "one.ckpt", weights_only=True)
    loaded = load_module(tmp_path / "one.ckpt")
    assert isinstance(loaded, NeuralGrowth)
    assert loaded.net.gate.active == gate
    batch = learners.interactions("test").batch(torch.arange(5))
    torch.testing.assert_close(loaded.eval()(batch), tracer.eval()(batch))


def test_learners_without_history_are_predicted_by_the_share_of_right_answers() -> None:
    tracer, rate = small(), torch.linspace(0.1, 0.9, 10)
    tracer.net.start_from(rate)
    torch.testing.assert_close(tracer.mastery(tracer.initial_state(2)), rate.expand(2, -1))


def test_windows_belong_to_the_draws_of_their_learners() -> None:
    tracer = small().eval()
    batch = Interactions.from_lists([[(c % 10, c % 3 == 0) for c in range(n)] for n in (30, 25, 40)]).batch(
        torch.arange(3)
    )
    first, again, other = (
        tracer.window_losses(batch, Draws.of(0, epoch, batch.learner))["windows"] for epoch in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_two_learners_can_be_learned_by_heart_and_practice_still_helps() -> None:
    torch.manual_seed(0)
    tracer = NeuralGrowth(4, embedding_size=16, hidden_size=16, dropout=0.0, penalty=0.0, learning_rate=0.02)
    batch = Interactions.from_lists([[(c % 4, c % 2) for c in range(9)], [(3, 1), (2, 0), (1, 1), (0, 0)]]).batch(
        torch.arange(2)
    )
    optimizer = tracer.configure_optimizers()
    for step in range(150):
        optimizer.zero_grad()
        losses = tracer.window_losses(batch, Draws.of(0, step, batch.learner))
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        optimizer.step()
    assert float(tracer.losses(batch)["answers"].detach()) < 0.05
    state = tracer.encode(batch)
    asked = Exercise.of_concepts(torch.tensor([0, 1]))
    grown = tracer.predict(tracer.practise(state, asked, torch.zeros(2)), asked) - tracer.predict(state, asked)
    assert bool((grown > 0).all())


@pytest.mark.parametrize(
    "setting",
    [
        {"embedding_size": 0},
        {"hidden_size": 0},
        {"num_layers": 0},
        {"dropout": 1.5},
        {"windows": 0},
        {"window_length": 1},
        {"penalty": -1.0},
        {"window_weight": -1.0},
        {"learning_rate": 0.0},
        {"weight_decay": -0.1},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    (name,) = setting
    with pytest.raises(SettingError, match=name):
        NeuralGrowth(3, **setting)  # type: ignore[arg-type]


def test_the_number_of_concepts_is_asked_for() -> None:
    with pytest.raises(SettingError, match="num_concepts"):
        NeuralGrowth()
