"""PerformanceFactors and StateSpaceGrowth: what they take from the data, and how they are trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lpr_lightning.bases.growth_tracer import GrowthTracer
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import load_module
from lpr_lightning.models.performance_factors import PerformanceFactors
from lpr_lightning.models.state_space import StateSpaceGrowth
from lpr_lightning.types import Interactions

Kind = type[PerformanceFactors] | type[StateSpaceGrowth]
KINDS = [PerformanceFactors, StateSpaceGrowth]


def data(folder: Path) -> SyntheticLearners:
    return SyntheticLearners(num_concepts=10, num_learners=60, answers=(10, 20), batch_size=64, cache_dir=str(folder))


def fitted(tracer: GrowthTracer, learners: SyntheticLearners, folder: Path, epochs: int = 1) -> Trainer:
    trainer = Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(tracer, learners)
    return trainer


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_changes_every_weight_and_starts_from_the_data(kind: Kind, gate: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tracer, learners = kind(10, gate=gate, iterations=3), data(tmp_path)
    assert tracer.connected == (not gate)
    before = {name: weight.clone() for name, weight in tracer.named_parameters()}
    trainer = fitted(tracer, learners, tmp_path)
    after = dict(tracer.named_parameters())
    resting = {name for name in before if torch.equal(before[name], after[name])}
    assert resting == (set() if gate else {"net.gate.weight"})
    assert tracer.connected
    assert tracer.net.gate.active == gate
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    loaded = load_module(tmp_path / "one.ckpt")
    assert isinstance(loaded, kind)
    assert loaded.net.gate.active == gate
    batch = learners.interactions("test").batch(torch.arange(5))
    torch.testing.assert_close(loaded(batch), tracer(batch))


@pytest.mark.parametrize("kind", KINDS)
def test_training_starts_from_the_share_of_right_answers(kind: Kind) -> None:
    tracer, rate = kind(4), torch.tensor([0.2, 0.4, 0.6, 0.8])
    tracer.net.start_from(rate)
    mastery = tracer.mastery(tracer.initial_state(1))[0]
    assert bool((mastery.diff() > 0).all())
    if isinstance(tracer, PerformanceFactors):
        torch.testing.assert_close(mastery, rate)


@pytest.mark.parametrize("kind", KINDS)
def test_two_learners_can_be_learned_by_heart(kind: Kind) -> None:
    torch.manual_seed(0)
    tracer = kind(4, penalty=0.0)
    batch = Interactions.from_lists([[(c % 4, c % 2) for c in range(9)], [(3, 1), (2, 0), (1, 1), (0, 0)]]).batch(
        torch.arange(2)
    )
    optimizer = torch.optim.LBFGS(tracer.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = tracer.losses(batch)["answers"]
        torch.autograd.backward(loss)
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    assert float(tracer.losses(batch)["answers"].detach()) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_settings_out_of_range_are_refused(kind: Kind) -> None:
    with pytest.raises(SettingError, match="iterations"):
        kind(3, iterations=0)
    with pytest.raises(SettingError, match="penalty"):
        kind(3, penalty=-1.0)
    with pytest.raises(SettingError, match="num_concepts"):
        kind()
