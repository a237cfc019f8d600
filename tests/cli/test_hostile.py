"""Does anything in a file from a stranger (an archive, a checkpoint, a configuration) get executed?

Each file tries to make the file `executed`, or to write beside its archive.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from lpr_lightning.cli import main
from lpr_lightning.datamodules.interactions_csv import InteractionsCSV
from lpr_lightning.errors import LPRError
from lpr_lightning.hparams import ORIGIN, built, load_module
from lpr_lightning.models.dkt import DKT
from lpr_lightning.models.ib_grpo import IBGRPOPolicy

TORCH_POPEN = "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler"
EXECUTED = Path("executed")
COMMAND = {"args": ["touch", "executed"]}
HANDLER_ARGUMENTS: dict[str, object] = {
    **{"entrypoint": "/usr/bin/touch", "args": ["executed"], "env": {}, "stdout": None, "stderr": None},
    **{"local_rank_id": 0, "numa_options": None},
}
HANDLER = {"class_path": f"{TORCH_POPEN}.SubprocessHandler", "init_args": HANDLER_ARGUMENTS}
EVIL = "from pathlib import Path\nPath('executed').touch()\n\n\nclass Evil:\n    pass\n"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder with a module that must not be imported."""
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    monkeypatch.syspath_prepend(str(tmp_path / "inner"))
    monkeypatch.setenv("LPR_CACHE", str(tmp_path / "cache"))
    Path("evil_module.py").write_text(EVIL)
    sys.modules.pop("evil_module", None)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that the command line ends in."""
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert "Traceback" not in error
    return error


# ----------------------------------------------------------------------------------------------- archives


LOG = "learner,order,item,concept,correct\n" + "".join(
    f"{learner},{step},q{step},c{step % 3},{(learner + step) % 2}\n" for learner in range(12) for step in range(8)
)


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes | str], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a .zip of these members."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return target.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    """Return the description of a symbolic link."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def tarred(name: str) -> bytes:
    """Return a .tar with one member."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(EVIL)
        archive.addfile(info, io.BytesIO(EVIL.encode()))
    return target.getvalue()


def encrypted() -> bytes:
    """Return a .zip that says that its member needs a password."""
    content = bytearray(zipped(("log.csv", LOG)))
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


class Touch:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, ("touch executed",)


ARCHIVES: dict[str, tuple[str, bytes]] = {
    "above": ("log.zip", zipped(("../../escaped.csv", LOG))),
    "absolute": ("log.zip", zipped(("/tmp/escaped.csv", LOG))),
    "windows": ("log.zip", zipped(("..\\..\\escaped.csv", LOG))),
    "link": ("log.zip", zipped((link("log.csv"), "/etc/passwd"))),
    "link and file": ("log.zip", zipped((link("log"), "/tmp"), ("log/escaped.csv", LOG))),
    "above and named": ("log.zip", zipped(("../log", LOG), ("other", LOG))),
    "same name twice": ("log.zip", zipped(("a/log", LOG), ("b/log", LOG))),
    "module": ("log.zip", zipped(("evil_module.py", EVIL))),
    "pickle": ("log.zip", zipped(("log.csv", pickle.dumps(Touch())))),
    "nested": ("log.zip", zipped(("log.zip", zipped(("log.csv", LOG))))),
    "empty": ("log.zip", zipped()),
    "password": ("log.zip", encrypted()),
    "truncated": ("log.zip", zipped(("log.csv", LOG))[:-40]),
    "flipped": ("log.zip", zipped(("log.csv", LOG)).replace(LOG[:9].encode(), b"x" * 9).replace(b"PK\3\4", b"PK\3\5")),
    "no archive": ("log.zip", LOG.encode()),
    "tar": ("log.zip", tarred("../../escaped.csv")),
    "gz of a tar": ("log.csv.gz", gzip.compress(tarred("../../escaped.csv"))),
    "gz of a pickle": ("log.csv.gz", gzip.compress(pickle.dumps(Touch()))),
    "gz truncated": ("log.csv.gz", gzip.compress(LOG.encode())[:-30]),
    "no gz": ("log.csv.gz", LOG.encode()),
    "gz and more": ("log.csv.gz", gzip.compress(LOG.encode()) + b"rubbish"),
}
WHOLE = ("above", "absolute", "windows", "above and named", "same name twice")
"""Archives in which a log can be read: no name in an archive is ever a place to write to."""


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_are_read_where_they_lie(name: str, tmp_path: Path) -> None:
    file, content = ARCHIVES[name]
    path = tmp_path / "inner" / file
    path.write_bytes(content)
    before = {one for one in tmp_path.rglob("*") if tmp_path / "cache" not in one.parents}
    if name in WHOLE:
        InteractionsCSV(str(path), cache_dir=str(tmp_path / "cache")).prepare_data()
    else:
        with pytest.raises(LPRError, match="log"):
            InteractionsCSV(str(path), cache_dir=str(tmp_path / "cache"))
    after = {one for one in tmp_path.rglob("*") if tmp_path / "cache" not in one.parents}
    assert after - before <= {tmp_path / "cache"}
    assert not EXECUTED.exists()
    assert not Path("/tmp/escaped.csv").exists()


# --------------------------------------------------------------------------------------------- checkpoints


MODEL, VERSION = "lpr_lightning.models.ib_grpo.IBGRPOPolicy", "pytorch-lightning_version"


def policy(**changes: object) -> dict[str, object]:
    """Return the contents of a checkpoint of a policy with these arguments."""
    arguments = {"num_concepts": 5, **changes}
    origin = {"model": MODEL, "data": None}
    return {VERSION: "2.6.6", ORIGIN: origin, "hyper_parameters": arguments, "state_dict": {}}


def named(path: str, **init_args: object) -> dict[str, object]:
    """Return the contents of a checkpoint of a model of this class."""
    return policy() | {ORIGIN: {"model": path, "data": None}, "hyper_parameters": init_args}


LINE = {
    "class_path": "lpr_lightning.cli.parsing.CommandLine",
    "init_args": {"subcommand": "fit", "flags": ["--model=evil_module.Evil"]},
}
SETTINGS = {"class_path": "lpr_lightning.cli.settings.RunSettings", "init_args": {"line": LINE, "short_names": {}}}
RUN = {"class_path": "lpr_lightning.cli.session.PathCLI", "init_args": {"settings": SETTINGS}}
POPEN = {"class_path": "subprocess.Popen", "init_args": COMMAND}
CHECKPOINTS: dict[str, object] = {
    "a pickle": Touch(),
    "weights that are a pickle": policy() | {"state_dict": {"weight": Touch()}},
    "arguments that are a pickle": policy(simulator=Touch()),
    "a state that is a pickle": policy() | {"callbacks": {"ModelCheckpoint": Touch()}},
    "a whole class": policy() | {"state_dict": {"weight": subprocess.Popen}},
    "no model": policy() | {ORIGIN: {}, "hyper_parameters": {"_class_path": "evil_module.Evil"}},
    "a process": named("subprocess.Popen", **COMMAND),
    "a shell": named("os.system", command="touch executed"),
    "a module": named("evil_module.Evil"),
    "torch's process": named(f"{TORCH_POPEN}.SubprocessHandler", **HANDLER_ARGUMENTS),
    "a process by way of torch": named(f"{TORCH_POPEN}.Popen", **COMMAND),
    "a process by way of ours": named("lpr_lightning.ranks.os.system", command="touch executed"),
    "a run": named("lpr_lightning.cli.session.PathCLI", settings=SETTINGS),
    "torch's module": named("torch.nn.modules.linear.Identity"),
    "a metric that downloads": named("torchmetrics.text.BERTScore", model_name_or_path="a/b"),
    "a nested process": policy(simulator=POPEN),
    "a process in a list": policy(objectives=[POPEN]),
    "a run in a list": policy(objectives=[RUN]),
    "a run in a part": policy(goal={"class_path": "lpr_lightning.goals.Targets", "init_args": {"exam": RUN}}),
    "a nested module": policy(goal={"class_path": "evil_module.Evil"}),
    "a short name": policy(goal={"class_path": "Identity"}),
    "a path without a description": policy(goal="torch.nn.Identity"),
    "another kind": policy(goal={"class_path": "lpr_lightning.callbacks.path_writer.PathWriter"}),
    "Lightning's parser": policy(_instantiator="lightning.pytorch.cli.instantiate_module", goal="evil_module.Evil"),
    "any parser": policy(_instantiator="evil_module.Evil"),
    "a class for Lightning's parser": policy(_class_path="evil_module.Evil"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_execute_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(CHECKPOINTS[name], "stranger.ckpt")
    with pytest.raises(LPRError):
        load_module("stranger.ckpt")
    error = refused(["test", "--ckpt_path=stranger.ckpt", "--data=SyntheticLearners"], capsys)
    assert "stranger.ckpt" in error or "class_path" in error or "model" in error
    try:
        IBGRPOPolicy.load_from_checkpoint("stranger.ckpt", strict=False)
    except LPRError:
        pass
    else:  # nothing that this class would take from it
        assert name in ("a process", "a shell", "a module") or name.startswith(("torch's", "a process by", "a metric"))
    assert not EXECUTED.exists()
    assert "evil_module" not in sys.modules


def test_a_checkpoint_of_data_is_read_without_a_parser_too() -> None:
    arguments = {"root": ".", "_instantiator": "lightning.pytorch.cli.instantiate_module", "task": "evil_module.Evil"}
    torch.save({VERSION: "2.6.6", "datamodule_hyper_parameters": arguments}, "data.ckpt")
    with pytest.raises(LPRError, match="_instantiator"):
        InteractionsCSV.load_from_checkpoint("data.ckpt")
    content = io.BytesIO(Path("data.ckpt").read_bytes())
    with pytest.raises(LPRError):  # the task is no object; nobody parsed it
        InteractionsCSV.load_from_checkpoint(content)
    assert "evil_module" not in sys.modules


def test_the_class_of_data_in_a_checkpoint_is_looked_at_too(capsys: pytest.CaptureFixture[str]) -> None:
    model = DKT(5, embedding_size=3, hidden_size=4)
    content = {VERSION: "2.6.6", "hyper_parameters": dict(model.hparams), "state_dict": model.state_dict()}
    origin = {"model": "lpr_lightning.models.dkt.DKT", "data": "lightning.pytorch.demos.mnist_datamodule.MNIST"}
    torch.save(content | {ORIGIN: origin}, "stranger.ckpt")
    assert "--allow_package lightning" in refused(["test", "--ckpt_path=stranger.ckpt"], capsys)


@pytest.mark.parametrize("path", ["FOLDER/../../../../../kept", "local://KEPT", "file://KEPT"])
def test_a_resumed_fit_removes_nothing_that_a_checkpoint_names(
    path: str, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    main(["fit", "--config", tiny, "--trainer.max_epochs=1"])
    checkpoint = next(tmp_path.rglob("last.ckpt"))
    content = torch.load(checkpoint, weights_only=True)
    named = path.replace("FOLDER", str(checkpoint.parent)).replace("KEPT", str(kept))
    for state in content["callbacks"].values():
        if "dirpath" in state:
            state |= {
                "kth_best_model_path": named,
                "last_model_path": named,
                "best_k_models": {named: torch.tensor(9.0)},
            }
    torch.save(content, checkpoint)
    checkpoint.with_name("last.ckpt.sha256").unlink()  # who changes a checkpoint changes its checksum too
    error = refused(["fit", "--config", tiny, "--ckpt_path=last", "--trainer.max_epochs=3"], capsys)
    assert f"It would remove {named}" in error
    assert (kept / "file").is_file()


# --------------------------------------------------------------------------------------------- class paths


CLASS_PATHS = [
    "os.system",
    "posix.system",
    "subprocess.Popen",
    "builtins.exec",
    "builtins.__import__",
    "importlib.import_module",
    "runpy.run_path",
    "pickle.load",
    "code.interact",
    "webbrowser.open",
    "evil_module.Evil",
    "evil_module.missing",
    "jsonargparse.set_parsing_settings",
    f"{TORCH_POPEN}.Popen",
    f"{TORCH_POPEN}.SubprocessHandler",
    "torch.os.system",
    "torch.hub.load",
    "torch.utils.cpp_extension.load",
    "torch.package.PackageImporter",
    "lightning.pytorch.trainer.trainer.os.system",
    "lightning.pytorch.cli.instantiate_module",
    "lpr_lightning.ranks.os.system",
    "lpr_lightning.cli.session.run",
    "lpr_lightning.cli.main",
    "lpr_lightning_other.Evil",
]


@pytest.mark.parametrize("path", CLASS_PATHS)
def test_class_paths_execute_nothing(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    description = {"class_path": path, "init_args": HANDLER_ARGUMENTS if "Handler" in path else COMMAND}
    with pytest.raises(LPRError):
        built(description, object)
    model = {"class_path": "DKT", "init_args": {"embedding_size": 2, "hidden_size": 2}}
    data = {"class_path": "SyntheticLearners", "init_args": {"num_learners": 20}}
    for settings in (
        {"model": description, "data": data},
        {"model": model, "data": {"class_path": "SyntheticLearners", "init_args": {"task": description}}},
        {"model": model, "data": data, "trainer": {"callbacks": [description]}},
    ):
        Path("stranger.yaml").write_text(yaml.safe_dump(settings))
        refused(["fit", "--config=stranger.yaml"], capsys)
    assert not EXECUTED.exists()
    assert "evil_module" not in sys.modules
    assert not Path("logs").exists()


def test_an_argument_that_takes_anything_takes_no_process(capsys: pytest.CaptureFixture[str]) -> None:
    strategy = {
        "class_path": "lightning.pytorch.strategies.DeepSpeedStrategy",
        "init_args": {"config": {"anything": HANDLER}},
    }
    model = {"class_path": "DKT", "init_args": {"embedding_size": 2, "hidden_size": 2}}
    data = {"class_path": "SyntheticLearners", "init_args": {"num_learners": 20}}
    settings = {"model": model, "data": data, "trainer": {"strategy": strategy}}
    Path("stranger.yaml").write_text(yaml.safe_dump(settings))
    assert "SubprocessHandler" in refused(["fit", "--config=stranger.yaml"], capsys)
    assert not EXECUTED.exists()
