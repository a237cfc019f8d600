"""Many tracers fitted on the same data, each once: what comparisons of them begin with."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml
from torch import nn

from lpr_lightning.cache import atomic_write, fingerprint
from lpr_lightning.cli import main
from lpr_lightning.cli.first_fits import TASKS
from lpr_lightning.cli.names import short_names
from lpr_lightning.cli.parsing import Settings, merged, read_config
from lpr_lightning.datamodules.base import LearnerDataModule
from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.hparams import Plain, built, load_module, plain
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import PathRequest

_DATA = "--data."


@dataclass(frozen=True)
class Fitted:
    """A tracer after its fit: a name, the key of all that it depends on, and the processor seconds that it took.

    `seconds` are those of the last command, where a fit was stopped and went on; `checkpoint` is the file.
    """

    name: str
    key: str
    tracer: nn.Module
    seconds: float
    checkpoint: Path = Path()


@dataclass(frozen=True)
class FitFolder:
    """Fits tracers in a folder, or finds them there.

    Args:
        folder: where a folder for each fit goes.
        description: class and arguments of the data, without task and batch size, which each configuration has itself.
        data: the data of that description.
        seed: of weights and batches.
        words: more of every fit's command line, such as `--trainer.max_epochs=1`.
    """

    folder: Path
    description: Settings
    data: LearnerDataModule
    seed: int = 0
    words: Sequence[str] = ()

    def fit(self, name: str, config: Path) -> Fitted:
        """Return the tracer of a configuration; a fit that was stopped goes on from its last checkpoint.

        Raises:
            LPRError: the fit left no checkpoint.
        """
        key = fingerprint(config.read_text(encoding="utf-8"), self.data.fingerprint, list(self.words), self.seed)
        layers: list[Settings] = [read_config(str(config), short_names()), {"data": self.description}]
        return self._fitted(name, key, merged(layers))

    def fit_settings(self, name: str, settings: Settings, keys: Sequence[str] = ()) -> Fitted:
        """Return the module of settings, whose own data give task and batch size; `keys` are what else it depends on.

        Files that settings name, such as a tracer's checkpoint, are known by their keys.
        """
        known = settings.get("model"), settings.get("trainer"), settings.get("data")
        text = yaml.safe_dump(list(known)).replace(str(self.folder), "")
        key = fingerprint(text, self.data.fingerprint, list(self.words), self.seed, list(keys))
        return self._fitted(name, key, merged([settings, {"data": self.description}]))

    def _fitted(self, name: str, key: str, settings: Settings) -> Fitted:
        folder = self.folder / f"{name}_{key}"
        if not (folder / "fit.json").is_file():
            self._run(name, settings, folder)
        record = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
        checkpoint = folder / record["checkpoint"]
        tracer = load_module(checkpoint).eval().requires_grad_(False)
        return Fitted(name, key, tracer, float(record["seconds"]), checkpoint)

    def _run(self, name: str, settings: Settings, folder: Path) -> None:
        whole, begun = folder / f"{name}.yaml", time.process_time()
        write(whole, yaml.safe_dump(settings))
        words = ["fit", f"--config={whole}", f"--seed_everything={self.seed}", "--test_after_fit=false"]
        resumed = ["--ckpt_path=last"] if any(folder.rglob("last*.ckpt")) else []
        main([*words, f"--trainer.default_root_dir={folder}", *self.words, *resumed])
        found = sorted(folder.glob("logs/*/version_*/checkpoints/best*.ckpt"), key=lambda one: one.stat().st_mtime)
        if not found:
            raise LPRError(f"the fit of {name} left no checkpoint in {folder}")
        place = str(found[-1].relative_to(folder))
        write(folder / "fit.json", json.dumps({"checkpoint": place, "seconds": time.process_time() - begun}))


def data_description(config: Path, root: str | None, words: Sequence[str]) -> tuple[Settings, list[str]]:
    """Return class and arguments of a configuration's data, and the words that are not about the data.

    Args:
        config: a configuration or an overlay with data.
        root: folder of the data set, where it has one.
        words: of a command line; those that begin with `--data.` set arguments, as in `--data.num_learners=50`.
    """
    given = _mapping(read_config(str(config), short_names())["data"])
    arguments = {"seed": 0, **_mapping(given.get("init_args"))}
    if root is not None:
        arguments["root"] = str(Path(root).resolve())
    for word in words:
        if word.startswith(_DATA):
            name, _, value = word.removeprefix(_DATA).partition("=")
            arguments[name] = yaml.safe_load(value)
    arguments = {name: value for name, value in arguments.items() if name not in (*TASKS, "batch_size")}
    own = [word for word in words if not word.startswith(_DATA)]
    return {"class_path": given["class_path"], "init_args": arguments}, own


def data_module(description: Settings) -> LearnerDataModule:
    """Return the data of a description, read and split.

    Raises:
        SettingError: it describes no data of learners.
    """
    data = built(description, LearnerDataModule)
    if data is None:
        raise SettingError("data", description, "a data set of learners")
    data.setup()
    return data


def path_requests(config: Path) -> PathRequests:
    """Return the requests that a configuration trains and tests its policy on.

    Raises:
        SettingError: its task is another one.
    """
    arguments = _mapping(_mapping(read_config(str(config), short_names())["data"]).get("init_args"))
    task = built(_mapping(arguments.get("task")), PathRequests)
    if task is None:
        raise SettingError("task", None, "PathRequests")
    return task


def unseen_requests(data: LearnerDataModule, task: PathRequests, most: int) -> tuple[PathRequest, str]:
    """Return at most so many requests of test learners, all in one batch, and their key.

    Raises:
        SettingError: no test learner's log is long enough.
    """
    task = replace(task, max_requests=most)
    examples = task.examples(data.interactions("test"), "test", data.num_concepts, data.seed)
    if not len(examples.sizes):
        raise SettingError("data", type(data).__name__, "test learners with logs long enough for requests of paths")
    request = examples.batch(torch.arange(len(examples.sizes)))
    if not isinstance(request, PathRequest):
        raise SettingError("task", type(request).__name__, "requests for paths")
    return request, fingerprint(plain(task), data.fingerprint)


def tracer_file(configs: Path, name: str) -> Path:
    """Return the configuration of a tracer, by its name in the folder of configurations, or its path.

    Raises:
        SettingError: there is none.
    """
    for path in (Path(name), configs / "tracer" / f"{name}.yaml", configs / f"{name}.yaml"):
        if path.is_file():
            return path
    raise SettingError("tracers", name, "a configuration in configs or configs/tracer, or the path of one")


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _mapping(value: Plain) -> Settings:
    return dict(value) if isinstance(value, dict) else {}
