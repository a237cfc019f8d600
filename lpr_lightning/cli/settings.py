"""Which checkpoint a run starts from, which folder it writes to, and which settings win.

Flags beat the checkpoint, the checkpoint beats configuration files, these beat defaults.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from lpr_lightning.cli import runs
from lpr_lightning.cli.first_fits import describe_tracers
from lpr_lightning.cli.parsing import CommandLine, Settings, expanded_flags, merged, read_config
from lpr_lightning.cli.resume import Origin
from lpr_lightning.errors import SettingError, UntrainedModelError

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
        known = decisions or Decisions.received()
        self.decisions = known or Decisions()
        if known is None and (found := self._find_checkpoint()):
            self.decisions.checkpoint = str(found)
        path = self.decisions.checkpoint if layers is None else None  # a first fit starts from nothing
        self.checkpoint = Path(path) if path else None
        self.origin = Origin.read(self.checkpoint) if self.checkpoint else None
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
        self.arguments = [self.subcommand, *overlays, *expanded_flags(line.flags, short_names), *place]

    def folder(self, model: str) -> Path:
        """Return the run folder, the same for every process of the run; a resumed fit stays in its folder."""
        if self.decisions.folder is None:
            home = self._base() / self.name(model)
            before = runs.run_of(self.checkpoint) if self.checkpoint else None
            same = before is not None and before.parent.resolve() == home.resolve()
            if self.subcommand == "fit" and before is not None and same:
                self.decisions.folder = str(before)
            else:
                self.decisions.folder = str(runs.claim(home, reserve=vars(rank_zero_only).get("rank", 0) == 0))
        return Path(self.decisions.folder)

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
        return recorded


def _stem(path: Path) -> str:
    saved = path.stem == "config" and path.resolve().parent.name.startswith("version_")
    return path.resolve().parent.parent.name if saved else path.stem
