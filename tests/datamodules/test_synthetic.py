"""Synthetic learners are an ordinary data set, and the truth behind it can be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lpr_lightning.cli.session import run
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import class_path
from lpr_lightning.protocols import LearnerData, Simulator
from lpr_lightning.simulators.knowledge_world import KnowledgeWorld
from lpr_lightning.simulators.selective_world import SelectiveWorld
from lpr_lightning.simulators.transfer_world import TransferWorld
from lpr_lightning.simulators.true_learners import GrowthWorld
from lpr_lightning.simulators.world_learners import WorldKind
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import PathRequest, Split


def data(folder: Path, **changes: Any) -> SyntheticLearners:
    small: dict[str, Any] = {"num_concepts": 12, "num_learners": 50, "answers": (20, 40)}
    return SyntheticLearners(**small | {"cache_dir": str(folder)} | changes)


def requests(module: SyntheticLearners, split: Split) -> PathRequest:
    module.setup()
    examples = PathRequests().examples(module.interactions(split), split, module.num_concepts, module.seed)
    request = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(request, PathRequest)
    return request


def test_sizes_are_known_before_anything_is_loaded(tmp_path: Path) -> None:
    module = data(tmp_path)
    assert isinstance(module, LearnerData)
    assert isinstance(module.truth, Simulator)
    assert (module.num_concepts, module.num_items) == (12, 60)
    assert module.concept_names[:6] == [*(f"Fractions {n}" for n in range(1, 6)), "Equations 1"]


def test_learners_are_split_and_keep_their_numbers(tmp_path: Path) -> None:
    module = data(tmp_path)
    module.setup()
    numbers = [module.interactions(split).learner for split in ("train", "val", "test")]
    assert [len(one) for one in numbers] == [35, 5, 10]
    assert sorted(torch.cat(numbers).tolist()) == list(range(50))


def test_a_second_module_reads_the_same_log_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = data(tmp_path)
    monkeypatch.setattr(SyntheticLearners, "read", lambda self: pytest.fail("the cache was not used"))
    second = data(tmp_path)
    first.setup()
    second.setup()
    assert torch.equal(first.interactions("test").correct, second.interactions("test").correct)
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize(
    "change", [{"world_seed": 1}, {"answers": (20, 41)}, {"world": GrowthWorld(rate=1.0)}, {"num_items": 24}]
)
def test_whatever_changes_the_data_changes_the_fingerprint(tmp_path: Path, change: dict[str, Any]) -> None:
    assert data(tmp_path).fingerprint != data(tmp_path, **change).fingerprint


def test_the_default_world_is_the_same_spelled_out(tmp_path: Path) -> None:
    assert data(tmp_path).fingerprint == data(tmp_path, world=GrowthWorld()).fingerprint


@pytest.mark.parametrize("max_learners", [None, 30])
def test_the_truth_knows_the_learners_of_every_split(tmp_path: Path, max_learners: int | None) -> None:
    module = data(tmp_path, max_learners=max_learners)
    request = requests(module, "train")
    truth = module.truth
    mastery = truth.mastery(truth.start(request))
    history = request.history
    own = mastery.gather(1, history.concept[..., 0].clamp_min(0))
    shuffled = truth.mastery(truth.begin(request.learner.roll(1))).gather(1, history.concept[..., 0].clamp_min(0))
    error, other = ((chance - history.correct)[history.mask].square().mean() for chance in (own, shuffled))
    assert error < other - 0.02


def test_the_default_suits_the_default_requests(tmp_path: Path) -> None:
    module = SyntheticLearners(cache_dir=str(tmp_path))
    assert len(requests(module, "train")) > 400
    assert len(requests(module, "test")) > 110
    assert requests(module, "test").targets.sum(1).float().mean() > 3


def test_prerequisites_are_in_the_table(tmp_path: Path) -> None:
    module = data(tmp_path)
    assert module.prerequisites is not None
    assert module.truth.prerequisites is not None
    assert torch.equal(module.prerequisites, module.truth.prerequisites)


def test_the_default_world_and_its_logs_stay_as_they_were(tmp_path: Path) -> None:
    module = data(tmp_path)
    module.setup()
    log = module.interactions("train")
    assert module.fingerprint == "9456486505efcdba"
    assert log.concept[:12, 0].tolist() == [3, 6, 6, 3, 3, 3, 3, 3, 3, 2, 2, 2]
    assert log.correct[:12].tolist() == [1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1]


@pytest.mark.parametrize("world", [TransferWorld(), KnowledgeWorld(), SelectiveWorld()])
def test_a_world_changes_the_data_and_says_which_concepts_need_others(tmp_path: Path, world: WorldKind) -> None:
    module, default = data(tmp_path, world=world), data(tmp_path)
    assert module.fingerprint != default.fingerprint
    assert (
        module.fingerprint == data(tmp_path, world={"class_path": class_path(type(world)), "init_args": {}}).fingerprint
    )
    assert (module.prerequisites is None) == (module.truth.prerequisites is None) == isinstance(world, SelectiveWorld)


@pytest.mark.parametrize("world", ["GrowthWorld", "TransferWorld", "KnowledgeWorld", "SelectiveWorld"])
def test_a_tracer_is_fitted_to_every_world_from_the_command_line(
    world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "world.yaml"
    config.write_text(f"data: {{init_args: {{world: {{class_path: {world}, init_args: {{guess: 0.22}}}}}}}}\n")
    common = ["--data.num_learners=30", "--data.num_concepts=6", "--trainer.max_epochs=1", "--model.hidden_size=4"]
    dkt = str(Path(__file__).parents[2] / "configs" / "dkt.yaml")
    quiet = "--trainer.enable_progress_bar=false"
    cli = run(["fit", "--config", dkt, "--config", str(config), *common, quiet])
    kind = cli.datamodule.truth.kind
    assert (type(kind).__name__, kind.guess) == (world, 0.22)
    short = run(["validate", "--config", dkt, f"--data.world={world}", *common, quiet, "--ckpt_path=best"])
    assert type(short.datamodule.truth.kind).__name__ == world


@pytest.mark.parametrize("answers", [(0, 5), (6, 5)])
def test_settings_that_cannot_work_are_refused(tmp_path: Path, answers: tuple[int, int]) -> None:
    with pytest.raises(SettingError, match="answers"):
        data(tmp_path, answers=answers)
