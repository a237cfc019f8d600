"""Do short names mean one public class each, and only where a class is named?"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import lpr_lightning
from lpr_lightning.cli.parsing import expanded_flags, read_config
from lpr_lightning.cli.registry import PACKAGES, short_names


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
    flags = ["--data.root=DKT", "--model.net", "DKT", "--model.nets=[{class_path: DKT, name: DKT}]"]
    expected = ["--data.root=DKT", "--model.net", "x.DKT", '--model.nets=[{"class_path": "x.DKT", "name": "DKT"}]']
    assert expanded_flags(flags, {"DKT": "x.DKT"}) == expected


def test_tracers_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.yaml").write_text("model: {init_args: {deep: {tracer: ../b.yaml}, tracer: /c.ckpt}}\n")
    model = read_config(str(tmp_path / "inner" / "a.yaml"), {})["model"]
    assert model == {"init_args": {"deep": {"tracer": str(tmp_path / "b.yaml")}, "tracer": "/c.ckpt"}}


def _value(name: str) -> object:
    return vars(importlib.import_module(f"lpr_lightning.{lpr_lightning._MODULES[name]}"))[name]
