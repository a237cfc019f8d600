"""Is a tracer that is given as a configuration fitted before the model is built, once, on the data of the run?"""

from __future__ import annotations

import csv
import importlib
import logging
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lpr_lightning.cache import cache_root
from lpr_lightning.cli import main
from lpr_lightning.cli.session import run
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import load_module
from lpr_lightning.tasks.goals_ahead import GoalsAhead

RUN = Path("logs/tiny/version_0")
TRACER = """\
model: {class_path: tiny_parts.TinyTracer, init_args: {lr: 0.05}}
data: {class_path: nowhere.Other, init_args: {batch_size: 8, num_concepts: 99}}
trainer: {max_epochs: 3}
"""


@pytest.fixture
def with_tracer(tiny: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return a configuration whose model names a tracer's, in a folder of its own."""
    monkeypatch.setenv("LPR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.import_module("tiny_parts").TinyTracer, "fits", 0)
    Path("configs/tracer").mkdir(parents=True)
    Path("configs/tracer/own.yaml").write_text(TRACER, encoding="utf-8")
    settings = yaml.safe_load(Path(tiny).read_text())
    learner = {"class_path": "tiny_parts.Learner", "init_args": {"tracer": "tracer/own.yaml"}}
    settings["model"]["init_args"]["learner"] = learner
    Path("configs/tiny.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return "configs/tiny.yaml"


def fits() -> int:
    """Return how many tracers were fitted."""
    count: int = sys.modules["tiny_parts"].TinyTracer.fits
    return count


def test_it_is_fitted_on_the_data_of_the_run(with_tracer: str) -> None:
    cli = run(["fit", "--config", with_tracer, "--data.num_concepts=6", "--seed_everything=3"])
    assert fits() == 1
    files = {path.relative_to(RUN / "tracer").as_posix() for path in (RUN / "tracer").rglob("*")}
    assert {"config.yaml", "metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= files
    assert list((RUN / "tracer").glob("events*"))
    with (RUN / "tracer/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert max(int(row["step"]) for row in rows) == 5  # 16 rows in batches of 8, three epochs
    assert not any("test/loss" in row for row in rows)
    (cached,) = (cache_root() / "fits").iterdir()
    arguments, weights = contents(cached)
    assert (arguments["num_concepts"], arguments["lr"]) == (6, 0.05)
    assert torch.equal(cli.model.learner.tracer.net.weight, weights["net.weight"])
    assert not cli.model.learner.tracer.net.weight.requires_grad
    assert torch.equal(contents(RUN / "tracer/checkpoints/best.ckpt")[1]["net.weight"], weights["net.weight"])


def contents(path: Path) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Return the arguments and the weights in a checkpoint, of which a module can be rebuilt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lpr_lightning.hparams.ALLOWED_PACKAGES", ["tiny_parts"])
        weights: dict[str, torch.Tensor] = load_module(path).state_dict()
    arguments: dict[str, float] = torch.load(path, weights_only=True)["hyper_parameters"]
    return arguments, weights


def test_the_seed_is_said_once(with_tracer: str) -> None:
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("lightning.fabric.utilities.seed")
    log.addHandler(handler)
    try:
        run(["fit", "--config", with_tracer, "--trainer.fast_dev_run=1"])
    finally:
        log.removeHandler(handler)
    assert said.count("Seed set to 0") == 1


def test_it_is_fitted_once_for_the_same_settings(
    with_tracer: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    first = run(["fit", "--config", with_tracer])
    assert "fitted now" in caplog.text + capfd.readouterr().err
    second = run(["fit", "--config", with_tracer, "--model.lr=0.1"])
    assert fits() == 1
    printed = caplog.text + capfd.readouterr().err
    assert "tracer: TinyTracer, val/loss 0." in printed
    assert "fitted before" in printed
    weights = [[one.model.net.weight, one.model.learner.tracer.net.weight] for one in (first, second)]
    assert all(torch.equal(one, other) for one, other in zip(*weights))
    run(["fit", "--config", with_tracer, "--data.num_concepts=6"])
    run(["fit", "--config", with_tracer, "--seed_everything=1"])
    Path("configs/tracer/own.yaml").write_text(TRACER.replace("0.05", "0.04"), encoding="utf-8")
    run(["fit", "--config", with_tracer])
    assert fits() == 4


def test_the_saved_configuration_names_the_tracers_and_can_be_run_again(with_tracer: str) -> None:
    main(["fit", "--config", with_tracer])
    saved = yaml.safe_load((RUN / "config.yaml").read_text())
    path = saved["model"]["init_args"]["learner"]["init_args"]["tracer"]
    assert path == str(Path("configs/tracer/own.yaml").resolve())
    main(["fit", "--config", str(RUN / "config.yaml")])
    assert fits() == 1
    assert (RUN.parent / "version_1/checkpoints/best.ckpt").is_file()


@pytest.mark.parametrize("name", ["nowhere.yaml", "nowhere.ckpt"])
def test_a_path_that_is_not_there_is_one_error_before_work(
    with_tracer: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path(with_tracer).read_text()
    Path(with_tracer).write_text(text.replace("tracer/own.yaml", f"tracer/{name}"), encoding="utf-8")
    made = sys.modules["tiny_parts"].TinyData.made
    for flags in ([], [f"--model.learner.tracer={name}"]):
        with pytest.raises(SystemExit, match="2"):
            main(["fit", "--config", with_tracer, *flags])
        error = capsys.readouterr().err
        folder = Path("" if flags else "configs/tracer").resolve()
        assert f"error: {name} was not found in {folder}" in error
        assert len(error.splitlines()) == 1
    assert sys.modules["tiny_parts"].TinyData.made == made
    assert not Path("logs").exists()


def test_flags_are_relative_to_the_working_folder_and_may_name_a_checkpoint(with_tracer: str) -> None:
    main(["fit", "--config", with_tracer])
    checkpoint = RUN / "tracer/checkpoints/last.ckpt"
    cli = run(["fit", "--config", with_tracer, f"--model.learner.tracer={checkpoint}"])
    assert fits() == 1
    assert torch.equal(cli.model.learner.tracer.net.weight, contents(checkpoint)[1]["net.weight"])
    run(["fit", "--config", with_tracer, "--model.learner.tracer=configs/tracer/own.yaml"])
    assert fits() == 1
    cli = run(["fit", "--config", with_tracer, "--model.learner.tracer=tiny_parts.TinyTracer"])
    assert fits() == 1
    assert cli.model.learner.tracer.num_concepts == 4


def test_a_checkpoint_brings_its_tracer(with_tracer: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(["fit", "--config", with_tracer])
    Path("configs/tracer/own.yaml").write_text(TRACER.replace("0.05", "0.04"), encoding="utf-8")
    tested = run(["test", "--config", with_tracer, "--ckpt_path=last"])
    Path("configs/tracer/own.yaml").unlink()
    resumed = run(["fit", "--config", with_tracer, "--ckpt_path=last", "--trainer.max_epochs=3"])
    assert fits() == 1
    for cli in (tested, resumed):
        assert cli.model.learner.tracer.lr == 0.05
        assert torch.equal(cli.model.learner.tracer.net.weight, first.model.learner.tracer.net.weight)
    Path("other.yaml").write_text(TRACER, encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        main(["test", "--config", with_tracer, "--ckpt_path=last", "--model.learner.tracer=other.yaml"])
    assert "expected the tracer in the checkpoint" in capsys.readouterr().err


def test_printing_the_configuration_fits_nothing(with_tracer: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--config", with_tracer, "--print_config"])
    assert "own.yaml" in capsys.readouterr().out
    assert fits() == 0
    assert not Path("logs").exists()


def test_a_tracer_that_records_no_arguments_comes_from_the_configuration(with_tracer: str) -> None:
    own = ["--model.learner.tracer=tiny_parts.OwnTracer", "--model.learner.tracer.scale=2"]
    first = run(["fit", "--config", with_tracer, *own])
    text = Path(with_tracer).read_text()
    own_yaml = text.replace("tracer/own.yaml", "{class_path: tiny_parts.OwnTracer, init_args: {scale: 3}}")
    Path(with_tracer).write_text(own_yaml, encoding="utf-8")
    tested = run(["test", "--config", with_tracer, "--ckpt_path=last"])
    assert (first.model.learner.tracer.scale, tested.model.learner.tracer.scale) == (2, 3)
    assert torch.equal(first.model.learner.tracer.weight, tested.model.learner.tracer.weight)
    Path(with_tracer).write_text(text, encoding="utf-8")
    with pytest.raises(SettingError, match=r"model.learner.tracer='TinyTracer' .* expected OwnTracer"):
        run(["test", "--config", with_tracer, "--ckpt_path=last"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model: {class_path: tiny_parts.UnrecordedModel}", "records its arguments, which UnrecordedModel does not"),
        ("trainer: {max_epochs: 1}", "a configuration with a model"),
        ("model: {class_path: tiny_parts.TinyTracer, init_args: {rate: 1}}", "own.yaml: model: "),
        ("model: {class_path: evil.Model}", "--allow_package evil"),
    ],
)
def test_a_tracer_that_cannot_be_fitted_is_one_error(
    with_tracer: str, text: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("configs/tracer/own.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", with_tracer])
    assert problem in capsys.readouterr().err
    assert fits() == 0


def test_bad_settings_are_refused_before_a_tracer_is_fitted(
    with_tracer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", with_tracer, "--model.part.scale=-1"])
    assert "scale=-1.0 cannot be used" in capsys.readouterr().err
    assert fits() == 0
    assert not Path("logs").exists()


@pytest.mark.parametrize(
    ("flag", "problem"), [("--model.under_way=2", "under_way"), ("--trainer.max_epochs=1", "'IB-GRPO' never begins")]
)
def test_settings_of_a_policy_are_refused_before_its_tracers_are_fitted(
    flag: str, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LPR_CACHE", str(tmp_path / "cache"))
    Path("tracer").mkdir()
    model = "model: {class_path: DKT, init_args: {embedding_size: 4, hidden_size: 4}}\ntrainer: {max_epochs: 1}\n"
    Path("tracer/dkt.yaml").write_text(model)
    Path("ahead.yaml").write_text(AHEAD)
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", "ahead.yaml", flag])
    error = capsys.readouterr().err.splitlines()
    assert problem in error[-1]
    assert not (cache_root() / "fits").exists()
    assert not Path("logs").exists()


def test_a_tracer_may_need_a_tracer(with_tracer: str) -> None:
    Path("configs/tracer/inner.yaml").write_text(TRACER, encoding="utf-8")
    settings = yaml.safe_load(Path(with_tracer).read_text())
    settings["model"]["init_args"]["learner"]["init_args"]["tracer"] = "inner.yaml"
    own = {"model": settings["model"], "trainer": {"max_epochs": 1}}
    Path("configs/tracer/own.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    for _ in range(2):
        cli = run(["fit", "--config", with_tracer])
    assert fits() == 1
    assert (RUN / "tracer/tracer/metrics.csv").is_file()
    assert cli.model.learner.tracer.learner.tracer.lr == 0.05


def test_a_tracer_of_the_task_is_fitted_on_the_data_without_the_task(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LPR_CACHE", str(tmp_path / "cache"))
    Path("tracer").mkdir()
    Path("tracer/dkt.yaml").write_text(
        "model: {class_path: DKT, init_args: {embedding_size: 4, hidden_size: 4}}\ntrainer: {max_epochs: 1}\n"
    )
    Path("ahead.yaml").write_text(AHEAD)
    cli = run(["fit", "--config", "ahead.yaml"])
    (cached,) = (cache_root() / "fits").iterdir()
    task = cli.datamodule.task
    assert isinstance(task, GoalsAhead)
    weights = load_module(cached).state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in task.tracer.state_dict().items())
    assert all(torch.equal(weight, weights[name]) for name, weight in cli.model.simulator.tracer.state_dict().items())
    assert task.hparams["tracer"] == str(cached)
    again = run(["test", "--ckpt_path", str(next(Path("logs").rglob("last.ckpt")))])
    assert isinstance(again.datamodule.task, GoalsAhead)
    assert len(list((cache_root() / "fits").iterdir())) == 1


AHEAD = """\
model:
  class_path: IBGRPOPolicy
  init_args:
    simulator: {class_path: KESSimulator, init_args: {tracer: tracer/dkt.yaml, response: soft}}
    backbone: {class_path: ConceptScorer, init_args: {hidden_size: 4}}
    demonstrations: {class_path: Demonstrations, init_args: {searches: [{class_path: GreedySearch}], announce: false}}
    clone_epochs: 1
    group_size: 2
data:
  class_path: SyntheticLearners
  init_args:
    num_concepts: 6
    num_learners: 40
    answers: [12, 20]
    task:
      class_path: GoalsAhead
      init_args:
        tracer: tracer/dkt.yaml
        quantile: 0.7
        least_targets: 1
        requests: {class_path: PathRequests, init_args: {length: 2, min_distinct: 3, min_targets: 1}}
trainer: {max_epochs: 2, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
"""
