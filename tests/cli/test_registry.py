"""Do short names mean one public class each, and only where a class is named?"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
import yaml

import lpr_lightning
from lpr_lightning.cli.names import PACKAGES, short_names
from lpr_lightning.cli.parsing import read_config
from lpr_lightning.cli.session import run


def test_a_short_name_means_one_public_class() -> None:
    names = short_names()
    for name, path in names.items():
        module, _, last = path.rpartition(".")
        assert last == name
        assert not name.startswith("_")
        assert inspect.isclass(vars(importlib.import_module(module))[name])
        assert module.split(".")[1] in PACKAGES
    offered = {name: _value(name) for name in lpr_lightning._MODULES}
    classes = {
        name for name, cls in offered.items() if inspect.isclass(cls) and cls.__module__.split(".")[1] in PACKAGES
    }
    assert classes <= names.keys()


def test_short_names_stand_for_classes_only(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: {class_path: DKT, init_args: {name: DKT, net: [{class_path: DKT}]}}\n")
    settings = read_config(str(tmp_path / "a.yaml"), {"DKT": "x.DKT"})
    inner = {"name": "DKT", "net": [{"class_path": "x.DKT"}]}
    assert settings == {"model": {"class_path": "x.DKT", "init_args": inner}}


def test_a_name_stands_for_a_class_where_one_is_expected_and_nowhere_else(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--data.task=DKT",  # a text
        "--model.part.label",
        "Targets",  # a text too
        "--model.learner=Targets",
        "--trainer.callbacks=[StepSeed, {class_path: PathSamples}]",
    ]
    with pytest.raises(SystemExit, match="0"):
        run(["fit", "--config", tiny, *flags, "--print_config"])
    settings = yaml.safe_load(capsys.readouterr().out)
    model = settings["model"]["init_args"]
    assert settings["data"]["init_args"]["task"] == "DKT"
    assert model["part"]["init_args"]["label"] == "Targets"
    assert model["learner"]["class_path"].endswith(".Targets")
    assert [one["class_path"].rpartition(".")[2] for one in settings["trainer"]["callbacks"]] == [
        "StepSeed",
        "PathSamples",
    ]


def test_tasks_may_be_named_in_a_few_letters(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--model=IBGRPOPolicy", "--model.objectives=[LearningEffect]", "--model.simulator=KESSimulator"]
    flags += ["--model.simulator.tracer=DKT", "--data=SyntheticLearners", "--data.further_tasks={longer: PathRequests}"]
    with pytest.raises(SystemExit, match="0"):
        run(["fit", *flags, "--data.task=RandomRequests", "--print_config"])
    settings = yaml.safe_load(capsys.readouterr().out)
    assert settings["data"]["init_args"]["further_tasks"]["longer"]["class_path"].endswith(".PathRequests")
    assert settings["data"]["init_args"]["task"]["class_path"].endswith(".RandomRequests")
    assert settings["model"]["init_args"]["simulator"]["init_args"]["tracer"]["class_path"].endswith(".DKT")


def test_tracers_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.yaml").write_text("model: {init_args: {deep: {tracer: ../b.yaml}, tracer: /c.ckpt}}\n")
    model = read_config(str(tmp_path / "inner" / "a.yaml"), {})["model"]
    assert model == {"init_args": {"deep": {"tracer": str(tmp_path / "b.yaml")}, "tracer": "/c.ckpt"}}


def _value(name: str) -> object:
    return vars(importlib.import_module(f"lpr_lightning.{lpr_lightning._MODULES[name]}"))[name]
