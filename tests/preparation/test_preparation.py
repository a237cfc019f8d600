"""Simulator and demonstrations are made once, kept whole, and found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lpr_lightning.demonstrations.beam import GreedySearch

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.models.dkt import DKT
from lpr_lightning.objectives import LearningEffect, ZPDAlignment
from lpr_lightning.preparation import Preparation, Prepared
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import PathRequest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticLearners:
    folder = str(tmp_path_factory.mktemp("data"))
    module = SyntheticLearners(
        num_concepts=8, num_learners=60, answers=(20, 30), cache_dir=folder, task=PathRequests(length=4, min_distinct=4)
    )
    module.setup("fit")
    return module


def prepare(data: SyntheticLearners, folder: Path, **settings: Any) -> tuple[KESSimulator, ZPDAlignment, Prepared]:
    options: dict[str, Any] = {"tracer_epochs": 2, "cache_dir": str(folder), "announce": False}
    preparation = Preparation(**(options | settings))
    simulator, zpd = KESSimulator(DKT(8, embedding_size=4, hidden_size=6)), ZPDAlignment(bins=2)
    zpd.configure(8)
    preparation.train_simulator(simulator, data)
    return simulator, zpd, preparation.demonstrate(simulator, [LearningEffect(), zpd], data)


def test_a_second_run_finds_what_the_first_one_made(data: SyntheticLearners, tmp_path: Path) -> None:
    first = prepare(data, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    torch.manual_seed(99)
    second = prepare(data, tmp_path)
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) == 2
    torch.testing.assert_close(dict(first[0].state_dict()), dict(second[0].state_dict()))
    torch.testing.assert_close(dict(first[1].state_dict()), dict(second[1].state_dict()))
    assert torch.equal(first[2].path, second[2].path)


def test_what_is_made_does_not_depend_on_the_global_seed_and_leaves_it_alone(
    data: SyntheticLearners, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    first = prepare(data, tmp_path / "a")[2]
    torch.manual_seed(2)
    simulator = KESSimulator(DKT(8, embedding_size=4, hidden_size=6))
    before = torch.get_rng_state()
    Preparation(tracer_epochs=2, cache_dir=str(tmp_path / "b"), announce=False).train_simulator(simulator, data)
    assert torch.equal(before, torch.get_rng_state())
    second = prepare(data, tmp_path / "b")[2]
    assert torch.equal(first.path, second.path)


def test_other_settings_are_other_files(data: SyntheticLearners, tmp_path: Path) -> None:
    prepare(data, tmp_path)
    prepare(data, tmp_path, seed=1)
    prepare(data, tmp_path, paths_per_search=1)
    assert len(list((tmp_path / "tracers").iterdir())) == 2
    assert len(list((tmp_path / "demonstrations").iterdir())) == 3


def test_a_damaged_file_is_made_again(data: SyntheticLearners, tmp_path: Path) -> None:
    first = prepare(data, tmp_path)[2]
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(first.path, prepare(data, tmp_path)[2].path)


def test_demonstrations_belong_to_their_requests_and_do_what_they_promise(
    data: SyntheticLearners, tmp_path: Path
) -> None:
    simulator, zpd, found = prepare(data, tmp_path)
    examples = data.task.examples(data.interactions("train"), "train", 8, data.seed)
    request = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(request, PathRequest)
    count = found.path.shape[1]
    followed = rollout(simulator, request, found.path.flatten(0, 1), count)
    effect = learning_effect(followed.score_before, followed.score_after, followed.score_max).view(-1, count)
    there = found.effect > -torch.inf
    torch.testing.assert_close(effect[there], found.effect[there])
    assert bool((found.path[~there] == -1).all())
    assert not bool((zpd.difficulty == 0.5).all())


def test_the_tracer_learns_and_is_frozen_afterwards(data: SyntheticLearners, tmp_path: Path) -> None:
    simulator = prepare(data, tmp_path, tracer_epochs=25, tracer_batch_size=4)[0]
    assert not any(weight.requires_grad for weight in simulator.parameters())
    tracer, log = simulator.tracer, data.interactions("train")
    batch = NextAnswers().examples(log, "train", 8, 0).batch(torch.arange(log.num_learners))
    target, mask = batch.correct[:, 1:], batch.mask[:, 1:]
    with torch.no_grad():
        loss = torch.nn.functional.binary_cross_entropy_with_logits(tracer(batch)[mask], target[mask])
        rate = target[mask].mean()
        constant = -(rate * rate.log() + (1 - rate) * (1 - rate).log())
    assert float(loss) < float(constant)


def test_a_trained_tracer_can_be_used_as_it_is(data: SyntheticLearners, tmp_path: Path) -> None:
    simulator = KESSimulator(DKT(8))
    before = {name: value.clone() for name, value in simulator.state_dict().items()}
    Preparation(tracer_epochs=0, cache_dir=str(tmp_path)).train_simulator(simulator, data)
    torch.testing.assert_close(before, dict(simulator.state_dict()))


def test_data_without_requests_are_refused(data: SyntheticLearners, tmp_path: Path) -> None:
    other = SyntheticLearners(num_concepts=8, num_learners=20, answers=(5, 9), cache_dir=str(tmp_path / "data"))
    preparation = Preparation(cache_dir=str(tmp_path), demonstrators=[GreedySearch()], announce=False)
    with pytest.raises(SettingError, match="PathRequests"):
        preparation.demonstrate(KESSimulator(DKT(8)), [], other)


@pytest.mark.parametrize(("setting", "value"), [("tracer_epochs", -1), ("paths_per_search", 0), ("demonstrators", [])])
def test_bad_settings_are_refused(setting: str, value: object) -> None:
    with pytest.raises(SettingError, match=setting):
        Preparation(**{setting: value})  # type: ignore[arg-type]
