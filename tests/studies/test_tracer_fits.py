"""Descriptions of data, and fits of tracers that are done once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.studies.tracer_fits import FitFolder, data_description, data_module, path_requests

WORDS = ["--data.num_learners=30", "--data.num_concepts=6", "--trainer.max_epochs=1"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.logger=false", "--trainer.enable_model_summary=false"]


def test_words_about_the_data_are_its_arguments(project: Path) -> None:
    description, rest = data_description(project / "configs" / "grpo.yaml", None, WORDS)
    assert rest == WORDS[2:]
    assert description["class_path"] == "lpr_lightning.datamodules.synthetic.SyntheticLearners"
    arguments = description["init_args"]
    assert isinstance(arguments, dict)
    assert {"task", "further_tasks", "batch_size"}.isdisjoint(arguments)
    assert (arguments["num_learners"], arguments["split"], arguments["seed"]) == (30, [0.55, 0.2, 0.25], 0)
    data = data_module(description)
    assert isinstance(data, SyntheticLearners)
    assert data.num_concepts == 6


def test_the_requests_are_those_of_the_configuration(project: Path) -> None:
    requests = path_requests(project / "configs" / "grpo.yaml")
    assert (requests.length, requests.min_distinct, requests.train_cuts) == (10, 7, 2)
    with pytest.raises(SettingError, match="PathRequests"):
        path_requests(project / "configs" / "dkt.yaml")


def test_a_fit_is_done_once_and_anew_with_other_settings(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    description, rest = data_description(project / "configs" / "grpo.yaml", None, WORDS)
    fits = FitFolder(tmp_path / "fits", description, data_module(description), 0, [*rest, *QUIET])
    config = project / "configs" / "tracer" / "performance_factors.yaml"
    first = fits.fit("factors", config)
    assert first.seconds > 0
    assert not first.tracer.training
    assert not any(weight.requires_grad for weight in first.tracer.parameters())
    monkeypatch.setattr("lpr_lightning.studies.tracer_fits.main", lambda _: None)
    second = fits.fit("factors", config)
    assert (second.key, second.seconds) == (first.key, first.seconds)
    assert all(bool((a == b).all()) for a, b in zip(first.tracer.parameters(), second.tracer.parameters()))
    other = FitFolder(fits.folder, description, fits.data, 1, fits.words)
    with pytest.raises(LPRError, match="factors left no checkpoint"):
        other.fit("factors", config)
