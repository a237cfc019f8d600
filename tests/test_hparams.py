"""Constructor arguments as plain values, and what may be built from them."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from lpr_lightning import hparams
from lpr_lightning.errors import MissingFileError, SettingError
from lpr_lightning.goals import HardExam, SoftExam, Targets
from lpr_lightning.hparams import ALLOWED_PACKAGES, ORIGIN, built, built_each, load_module, plain
from lpr_lightning.models.dkt import DKT
from lpr_lightning.protocols import Simulator
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.types import InteractionBatch

MADE: list[str] = []


class Writer:
    """Leaves a trace when it is made."""

    def __init__(self, file: str = "", inner: Targets | None = None) -> None:
        MADE.append(file)


class Learners(Writer):
    """Has the calls of a simulator, and its data only once it is made."""

    num_concepts = 3
    actions = None

    def _call(self) -> None:
        raise NotImplementedError

    start = predict = respond = practise = observe = mastery = _call


@dataclass(frozen=True)
class Pair:
    first: int = 1
    second: Targets | None = None


class Unrecorded(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hparams, "ALLOWED_PACKAGES", [*ALLOWED_PACKAGES, __name__.split(".")[0]])


def described(value: object) -> Mapping[str, object]:
    result = plain(value)
    assert isinstance(result, dict)
    assert json.loads(json.dumps(result)) == result
    return result


def test_plain_values_stay() -> None:
    assert plain({"a": (1, 2.5, None, True, "b"), 3: []}) == {"a": [1, 2.5, None, True, "b"], "3": []}


def test_what_is_neither_plain_nor_a_module_is_refused() -> None:
    with pytest.raises(SettingError, match="object"):
        plain([object()])


def test_modules_are_described_by_their_arguments_all_the_way_down() -> None:
    assert described(Targets(HardExam(0.75))) == {
        "class_path": "lpr_lightning.goals.concepts.Targets",
        "init_args": {"exam": {"class_path": "lpr_lightning.goals.exams.HardExam", "init_args": {"threshold": 0.75}}},
    }


def test_a_description_is_built_into_an_equal_object() -> None:
    torch.manual_seed(0)
    kes = KESSimulator(DKT(5, embedding_size=3, hidden_size=4), "soft", 0.75)
    again = built(described(kes), KESSimulator)
    assert again is not None
    again.load_state_dict(kes.state_dict())
    state, other = (one.tracer.encode(InteractionBatch.empty(2)) for one in (kes, again))
    assert torch.equal(kes.mastery(state), again.mastery(other))
    assert (again.response, again.threshold) == ("soft", 0.75)
    assert described(again) == described(kes)


def test_objects_and_none_pass_through() -> None:
    goal = Targets()
    assert built(goal, Targets) is goal
    assert built(None, Targets) is None
    assert built_each(None, Targets) == []
    assert built_each([goal, {"class_path": "lpr_lightning.goals.Targets"}], nn.Module)[0] is goal


@pytest.mark.usefixtures("allowed")
def test_dataclasses_are_built_with_what_they_hold() -> None:
    again = built(described(Pair(2, Targets(SoftExam()))), Pair)
    assert again is not None
    assert again.first == 2
    assert again.second is not None
    assert again.second.exam == SoftExam()


@pytest.mark.usefixtures("allowed")
def test_a_class_of_another_kind_is_refused_before_an_object_is_made() -> None:
    MADE.clear()
    writer = {"class_path": f"{__name__}.Writer", "init_args": {"file": "a"}}
    for value, kind in (
        (writer, nn.Module),
        (writer, Simulator),
        ({"class_path": f"{__name__}.Pair", "init_args": {"second": writer}}, Pair),
        (writer | {"init_args": {"inner": writer}}, Writer),
        (writer | {"init_args": {"no_such": 1}}, Writer),
    ):
        with pytest.raises(SettingError, match="Writer"):
            built(value, kind)
    assert MADE == []
    assert isinstance(built(writer | {"class_path": f"{__name__}.Learners"}, Simulator), Learners)
    assert MADE == ["a"]


@pytest.mark.usefixtures("allowed")
def test_a_class_that_says_it_is_of_another_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "__module__", "lpr_lightning.goals.concepts")
    with pytest.raises(SettingError, match="does not define it"):
        built({"class_path": f"{__name__}.Writer"}, Writer)


def test_classes_of_torch_are_for_configurations_only(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = {"class_path": "torch.nn.modules.linear.Identity"}
    with pytest.raises(SettingError, match=r"--allow_package torch, or in Python .*ALLOWED_PACKAGES"):
        built(identity, nn.Module)
    monkeypatch.setattr(hparams, "ALLOWED_PACKAGES", [*ALLOWED_PACKAGES, "torch"])
    assert isinstance(built(identity, nn.Module), nn.Identity)


def test_another_kind_is_refused() -> None:
    with pytest.raises(SettingError, match="a HardExam"):
        built({"class_path": "lpr_lightning.goals.SoftExam"}, HardExam)
    with pytest.raises(SettingError, match="a HardExam"):
        built(SoftExam(), HardExam)


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "lpr_lightning_other.Thing",
        "torch",
        "torch.nn",
        "torch.nn.",
        ".torch.nn.Linear",
        "torch.nn.NoSuchClass",
        "torch.no_such_module.Class",
        "torch.nn.Linear.forward",
        "torch.load",
        "lpr_lightning.hparams.built",
        "lpr_lightning.hparams.importlib.import_module",
        "lpr_lightning.cache.tempfile.NamedTemporaryFile",
        "lpr_lightning.cache.Path",
        "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler",
        "torch.package.PackageImporter",
        "lightning.pytorch.Trainer",
        "",
    ],
)
def test_whatever_is_no_class_of_an_allowed_package_is_refused(path: str) -> None:
    with pytest.raises(SettingError, match="class_path"):
        built({"class_path": path, "init_args": {}}, object)


def test_a_foreign_class_that_an_allowed_module_re_exports_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    module = ModuleType("lpr_lightning.re_exporting")
    vars(module).update(subprocess=subprocess, Popen=subprocess.Popen, Run=type("Run", (subprocess.Popen,), {}))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("Popen", "subprocess.Popen", "Run"):
        with pytest.raises(SettingError, match="class_path"):
            built({"class_path": f"{module.__name__}.{name}", "init_args": {"args": ["true"]}}, object)


def test_foreign_classes_are_refused_wherever_they_are_nested() -> None:
    inner = {"class_path": "subprocess.Popen", "init_args": {"args": ["true"]}}
    for value in (inner, [inner], [[inner]]):
        with pytest.raises(SettingError, match=r"subprocess\.Popen"):
            built({"class_path": "lpr_lightning.goals.Targets", "init_args": {"exam": value}}, Targets)


def test_a_module_that_records_nothing_is_said_once_and_cannot_be_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hparams, "_warned", set())
    with pytest.warns(UserWarning, match="Unrecorded does not record its arguments"):
        first = described(Unrecorded(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert described(Unrecorded(3)) == first
    with pytest.raises(SettingError):
        built(first, nn.Module)


def saved(path: Path, **changes: object) -> Path:
    module = DKT(5, embedding_size=3, hidden_size=4)
    content = {
        ORIGIN: {"model": "lpr_lightning.models.dkt.DKT"},
        "hyper_parameters": dict(module.hparams),
        "state_dict": module.state_dict(),
    }
    torch.save(content | changes, path)
    return path


def test_a_checkpoint_is_rebuilt_with_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(3)
    path = saved(tmp_path / "a.ckpt")
    module, content = load_module(path), torch.load(path, weights_only=True)
    assert isinstance(module, DKT)
    assert module.num_concepts == 5
    for name, value in content["state_dict"].items():
        assert torch.equal(module.state_dict()[name], value)


@pytest.mark.parametrize(
    "changes",
    [
        {ORIGIN: {"model": "subprocess.Popen"}, "hyper_parameters": {"args": ["true"]}},
        {ORIGIN: {}},
        {"hyper_parameters": None},
        {"state_dict": Path},
    ],
)
def test_checkpoints_that_name_no_model_of_ours_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        load_module(saved(tmp_path / "a.ckpt", **changes))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    for name in ("text.ckpt", "config.yaml"):
        with pytest.raises(SettingError, match="tracer"):
            load_module(tmp_path / name)
    with pytest.raises(MissingFileError):
        load_module(tmp_path / "none.ckpt")
