"""One policy for several tasks: trained on all, tested on each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lpr_lightning.cli.session import run
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import SettingError
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import PathRequest

CONFIG = Path(__file__).parents[2] / "configs/grpo.yaml"
SMALL = [
    *("--trainer.max_epochs=3", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"),
    *("--trainer.limit_test_batches=1", "--trainer.enable_progress_bar=false", "--data.num_learners=60"),
    *("--model.demonstrations.announce=false", "--model.clone_epochs=2", "--model.group_size=4"),
]


def learners(tmp_path: Path) -> SyntheticLearners:
    usual = PathRequests(length=3, min_distinct=3, min_targets=1)
    longer = PathRequests(length=5, min_distinct=3, min_targets=1, train_cuts=2)
    data = SyntheticLearners(
        num_concepts=6,
        num_learners=40,
        answers=(12, 20),
        task=usual,
        further_tasks={"longer": longer},
        cache_dir=str(tmp_path),
    )
    data.prepare_data()
    data.setup()
    return data


def test_training_and_validation_join_the_tasks_and_a_test_is_of_one(tmp_path: Path) -> None:
    data = learners(tmp_path)
    for split in ("train", "val"):
        examples = data.examples("train" if split == "train" else "val")
        batch = examples.batch(torch.arange(len(examples.sizes)))
        assert isinstance(batch, PathRequest)
        assert set(batch.length.tolist()) == {3, 5}
    lengths = []
    for name in data.tasks:
        with data.testing(name):
            batch = next(iter(data.test_dataloader()))
            assert isinstance(batch, PathRequest)
            lengths.append(set(batch.length.tolist()))
    assert lengths == [{3}, {5}]
    assert data.tested == ""


def test_names_must_serve_as_parts_of_a_figures_name(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="further_tasks"):
        SyntheticLearners(num_learners=20, further_tasks={"a/b": PathRequests()}, cache_dir=str(tmp_path))
    with pytest.raises(SettingError, match="longer"), learners(tmp_path).testing("shorter"):
        pass


def test_the_main_job_tests_every_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cli = run(["fit", "--config", str(CONFIG), *SMALL])
    folder = tmp_path / "logs/grpo/version_0"
    figures = json.loads((folder / "metrics.json").read_text())
    for task in ("test", "test/ahead", "test/ahead_20"):
        for name in ("", "random/", "prerequisite_rule/", "chain_search/", "oracle/"):
            assert f"{task}/{name}true_learning_effect" in figures
        for name in ("learning_effect", "true_share_of_oracle", "on_target", "first_step_share", "rank_fidelity"):
            assert f"{task}/{name}" in figures
    assert figures["test/ahead_20/path_length"] == 20
    again = run(["test", "--config", str(CONFIG), *SMALL, "--ckpt_path", str(folder / "checkpoints/best.ckpt")])
    assert "test/ahead_20/learning_effect" in again.trainer.callback_metrics
    assert cli.datamodule.tested == ""
