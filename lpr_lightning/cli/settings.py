"""Which checkpoint a run starts from, which folder it writes to, and which settings win.

Flags beat the checkpoint, the checkpoint beats configuration files, these beat defaults.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from lpr_lightning import hparams
from lpr_lightning.cli import runs
from lpr_lightning.cli.first_fits import describe_tracers
from lpr_lightning.cli.parsing import CommandLine, Settings, merged, read_config
from lpr_lightning.cli.resume import Origin
from lpr_lightning.errors import SettingError, UntrainedModelError
from lpr_lightning.hparams import Plain

RUN = "LPR_RUN"
"""Environment variable by which the process that launches others gives them its decisions."""
_INFORMATION = {"-h", "--help", "--print_config"}


@dataclass
class Decisions:
    """What the launching process decides for all: folder, checkpoint, and which first fits are cached, by their key."""

    folder: str | None = None
    checkpoint: str | None = None
    cached: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def received(cls) -> Decisions | None:
        """Return the decisions of the process that launched this one; None where none did."""
        return cls(**json.loads(text)) if (text := os.environ.get(RUN)) else None

    def publish(self) -> None:
        """Give them to the processes that this one launches."""
        os.environ[RUN] = json.dumps(asdict(self))


class RunSettings:
    """The settings of one run.

    Args:
        line: the command line.
        short_names: full class paths by short names.
        layers: those of a first fit, in place of those of the configuration files that the command line names.
        decisions: those of the run that this one is a part of.

    Attributes:
        written: what the configuration files say, laid over one another.
        checkpoint: the checkpoint to start from, `origin` what it says about itself.
        decisions: shared by every process of the run.
        arguments: what the parser gets.

    Raises:
        MissingFileError: a configuration or the checkpoint is not there.
        SettingError: one of them cannot be read.
        UntrainedModelError: there is no checkpoint where one is needed.
    """

    def __init__(
        self,
        line: CommandLine,
        short_names: Mapping[str, str],
        layers: list[Settings] | None = None,
        decisions: Decisions | None = None,
    ) -> None:
        self.line, self.subcommand, self.short_names = line, line.subcommand, short_names
        self.layers = [read_config(name, short_names) for name in line.configs] if layers is None else layers
        self.written = merged(self.layers)
        self._claimed: Path | None = None
        if layers is None:
            self._check_order()
        known = decisions or Decisions.received()
        self.decisions = known or Decisions()
        if known is None and (found := self._find_checkpoint()):
            self.decisions.checkpoint = str(found)
        path = self.decisions.checkpoint if layers is None else None  # a first fit starts from nothing
        self.checkpoint = Path(path) if path else None
        self.origin = Origin.read(self.checkpoint) if self.checkpoint else None
        if self.checkpoint:
            check_paths(self.checkpoint)
        informing = _INFORMATION & {flag.partition("=")[0] for flag in line.flags}
        untrained = "--allow_untrained" in line.flags or bool(self.written.get("allow_untrained"))
        if self.subcommand != "fit" and self.checkpoint is None and not untrained and not informing:
            raise UntrainedModelError(self.subcommand)
        if self.origin is not None:
            for layer in self.layers:
                describe_tracers(layer, short_names)
            self.layers.append(self._recorded(self.origin))
        overlays = [f"--config={json.dumps(layer)}" for layer in self.layers]
        place = [f"--ckpt_path={self.checkpoint}"] if self.checkpoint else []
        self.arguments = [self.subcommand, *overlays, *line.flags, *place]

    def folder(self, model: str) -> Path:
        """Return the run folder, the same for every process of the run; a resumed fit stays in its folder."""
        if self.decisions.folder is None:
            home = self._base() / self.name(model)
            before = runs.run_of(self.checkpoint) if self.checkpoint else None
            same = before is not None and before.parent.resolve() == home.resolve()
            if self.subcommand == "fit" and before is not None and same:
                self.decisions.folder = str(before)
            else:
                reserve = vars(rank_zero_only).get("rank", 0) == 0
                self.decisions.folder = str(runs.claim(home, reserve))
                self._claimed = Path(self.decisions.folder) if reserve else None
        return Path(self.decisions.folder)

    def forget_folder(self) -> None:
        """Remove the run folder, if this run made it and has written neither a checkpoint nor a figure into it."""
        folder = self._claimed
        if folder is None or not folder.is_dir():
            return
        figures = [path for path in folder.rglob("metrics.*") if path.stat().st_size]
        if not figures and not any(folder.rglob("*.ckpt")):
            shutil.rmtree(folder, ignore_errors=True)
            for parent in (folder.parent, folder.parent.parent):
                with suppress(OSError):  # it holds other runs
                    parent.rmdir()

    def _check_order(self) -> None:
        """Refuse a method's own file that is laid over an overlay and undoes what the overlay says.

        Raises:
            SettingError: names both files, and one setting.
        """
        own = [number for number, layer in enumerate(self.layers) if _has_class(layer.get("model"))]
        if not own:
            return
        method = self.line.configs[own[0]]
        after = _leaves(self.layers[own[0]])
        for name, layer in zip(self.line.configs[: own[0]], self.layers):
            before = _leaves(layer)
            for key in before.keys() & after.keys():
                if before[key] != after[key]:
                    allowed = "a method's own file first, then what is laid over it"
                    advice = f"{method} undoes {key} of {name}; give --config {method} --config {name}"
                    raise SettingError("config", name, allowed, advice)

    def name(self, model: str | None = None) -> str:
        """Return the run's name: that of the first configuration with a model, else of the checkpoint or the model."""
        for name, layer in zip(self.line.configs, self.layers):
            if "model" in layer:
                return _stem(Path(name))
        if self.checkpoint is not None and (run := runs.run_of(self.checkpoint)):
            return run.parent.name
        return _stem(Path(self.line.configs[0])) if self.line.configs else model or "run"

    def _base(self) -> Path:
        trainer = self.written.get("trainer")
        root = trainer.get("default_root_dir") if isinstance(trainer, dict) else None
        return Path(self.line.value("trainer.default_root_dir") or str(root or ".")) / "logs"

    def _find_checkpoint(self) -> Path | None:
        wanted = self.line.ckpt_path or self.written.get("ckpt_path")
        if wanted is None:
            return None
        if wanted in (runs.LAST, runs.BEST):
            model = self.line.value("model", "model.class_path")
            home = self._base() / self.name(model and model.rpartition(".")[2])
            found = runs.newest_checkpoint(home, str(wanted), fitting=self.subcommand == "fit")
            rank_zero_info(f"--ckpt_path {wanted} is {found}")
            return found
        return runs.given_checkpoint(Path(str(wanted)), fitting=self.subcommand == "fit")

    def _recorded(self, origin: Origin) -> Settings:
        """Return the checkpoint's model (and data, where none is given) as a configuration."""
        recorded: Settings = {}
        written = self.written.get("model")
        if model := origin.model or (written.get("class_path") if isinstance(written, dict) else written):
            recorded["model"] = {"class_path": model, "init_args": origin.model_arguments}
        elif self.line.value("model", "model.class_path") is None:
            allowed = "a checkpoint that names its model"
            raise SettingError("ckpt_path", str(self.checkpoint), allowed, "Give --model too")
        given = "data" in self.written or self.line.value("data", "data.class_path") is not None
        if not given and origin.data:
            recorded["data"] = {"class_path": origin.data, "init_args": origin.data_arguments}
        check_recorded({"model": origin.model, "data": recorded.get("data"), "arguments": origin.model_arguments})
        return recorded

    def check_parsed(self, parsed: Settings) -> None:
        """Refuse a class of another package in parsed settings that the checkpoint brought, by a short name.

        Raises:
            SettingError: names the class.
        """
        if self.origin is None:
            return
        theirs = {_last(text) for text in strings([self.origin.model_arguments, self.origin.data_arguments])}
        own = {_last(text) for text in strings(self.written)}
        own |= {word for flag in self.line.flags for word in re.findall(r"\w+", flag)}
        for text in strings([parsed.get("model"), parsed.get("data")]):
            if _foreign(text) and _last(text) in theirs - own:
                hparams.check_allowed(text)


def _has_class(model: Plain) -> bool:
    return isinstance(model, str) or (isinstance(model, dict) and "class_path" in model)


def _leaves(value: Plain, prefix: str = "") -> dict[str, Plain]:
    """Return settings by dotted name; lists are leaves."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        name: one for key, inner in value.items() for name, one in _leaves(inner, f"{prefix}.{key}".lstrip(".")).items()
    }


def check_recorded(value: Plain) -> None:
    """Refuse settings from a checkpoint that name a class outside the packages that the user allowed.

    Raises:
        SettingError: names the class.

    >>> check_recorded({"a": [{"class_path": "lpr_lightning.goals.Targets"}], "b": "torch"})
    >>> check_recorded({"a": "torch.nn.Identity"})
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.SettingError: class_path='torch.nn.Identity' cannot be used: expected a class of an allowed ...
    """
    if isinstance(value, dict) and "class_path" in value:
        hparams.check_allowed(value["class_path"])
    if isinstance(value, str) and _foreign(value):
        hparams.check_allowed(value)
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_recorded(one)


def check_paths(checkpoint: Path) -> None:
    """Refuse a checkpoint that would have a resumed fit remove files outside of its own folder.

    `ModelCheckpoint` removes, with all that is in it, what its saved state says it wrote.

    Raises:
        SettingError: names the path.
    """
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    states = content.get("callbacks", {})
    for state in states.values() if isinstance(states, dict) else ():
        if not isinstance(state, dict):
            continue
        saved = [state.get("kth_best_model_path"), state.get("last_model_path"), *(state.get("best_k_models") or ())]
        folder = str(state.get("dirpath") or "")
        for path in filter(None, map(str, filter(None, saved))):
            elsewhere = "://" in path and not path.startswith(folder)
            if elsewhere or ".." in PurePath(path).parts:
                allowed = "a checkpoint whose files lie in its own folder"
                raise SettingError("ckpt_path", str(checkpoint), allowed, f"It would remove {path}")


def strings(value: Plain) -> Iterator[str]:
    """Yield every text in settings.

    >>> list(strings({"a": ["b", 1], "c": {"d": "e"}}))
    ['b', 'e']
    """
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(one)


def _foreign(text: str) -> bool:
    """Return whether a text is the path of something in a package that configurations alone may name."""
    package = text.partition(".")[0]
    dotted = re.fullmatch(r"\w+(\.\w+)+", text) is not None
    return dotted and package in hparams.CONFIGURABLE and package not in hparams.ALLOWED_PACKAGES


def _last(text: str) -> str:
    return text.rpartition(".")[2]


def _stem(path: Path) -> str:
    saved = path.stem == "config" and path.resolve().parent.name.startswith("version_")
    return path.resolve().parent.parent.name if saved else path.stem
