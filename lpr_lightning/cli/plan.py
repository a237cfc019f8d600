"""From words to a plan: which checkpoint, which run folder, and which settings beat which."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from lpr_lightning.cli import rooms, runs
from lpr_lightning.cli.resume import Origin
from lpr_lightning.cli.words import Words, expand_flags, expand_text, read_config, settings
from lpr_lightning.errors import MissingFileError, SettingError, UntrainedModelError

RUN = "LPR_RUN"
"""Environment variable by which the process that launches others tells them its run folder and checkpoint."""
_NO_RUN = {"-h", "--help", "--print_config"}


class Plan:
    """What is to be done: the words for the parser, the checkpoint to start from, and the run's name."""

    def __init__(self, words: Words) -> None:
        paths = rooms.class_paths()
        texts = [expand_text(read_config(name), paths) for name in words.configs]
        self.subcommand = words.subcommand
        self.written = settings(texts)
        self.words = words
        self.told: dict[str, str | None] = json.loads(os.environ.get(RUN, "{}"))
        self.origin: Origin | None = None
        self.checkpoint: Path | None = None
        self.checkpoint = self._find_checkpoint()
        self.origin = Origin.read(self.checkpoint) if self.checkpoint else None
        helping = _NO_RUN & {flag.partition("=")[0] for flag in words.flags}
        untrained = "--allow_untrained" in words.flags or bool(self.written.get("allow_untrained"))
        if self.subcommand != "fit" and self.checkpoint is None and not untrained and not helping:
            raise UntrainedModelError(self.subcommand)
        overlays = [f"--config={text}" for text in texts]
        if kept := self._kept():
            overlays.append(f"--config={json.dumps(kept)}")
        place = [f"--ckpt_path={self.checkpoint}"] if self.checkpoint else []
        self.arguments = [self.subcommand, *overlays, *expand_flags(words.flags, paths), *place]

    def _base(self) -> Path:
        flags = iter(self.words.flags)
        root = self.written.get("trainer", {}).get("default_root_dir")
        for flag in flags:
            name, equals, value = flag.partition("=")
            if name == "--trainer.default_root_dir":
                root = value if equals else next(flags, None)
        return Path(root or ".") / "logs"

    def name(self, model: str | None = None) -> str:
        """Return the run's name: that of the first configuration with a model, else of the checkpoint or the model."""
        for name in self.words.configs:
            if "model" in settings([read_config(name)]):
                return _stem(Path(name))
        if self.origin is not None and self.checkpoint is not None and (run := runs.run_of(self.checkpoint)):
            return run.parent.name
        return _stem(Path(self.words.configs[0])) if self.words.configs else model or "run"

    def folder(self, model: str) -> Path:
        """Return the run folder, agreed with every process of this run; a resumed fit stays in its folder."""
        if self.told.get("folder"):
            return Path(str(self.told["folder"]))
        home = self._base() / self.name(model)
        before = runs.run_of(self.checkpoint) if self.checkpoint else None
        if self.subcommand == "fit" and before is not None and before.parent.resolve() == home.resolve():
            return before
        return runs.claim(home, reserve=getattr(rank_zero_only, "rank", 0) == 0)

    def _find_checkpoint(self) -> Path | None:
        if "checkpoint" in self.told:
            return Path(self.told["checkpoint"]) if self.told["checkpoint"] else None
        wanted = self.words.ckpt_path or self.written.get("ckpt_path")
        if wanted is None:
            return None
        if wanted in (runs.LAST, runs.BEST):
            found = runs.newest_checkpoint(self._base() / self.name(self._model_name()), wanted)
            rank_zero_info(f"--ckpt_path {wanted} is {found}")
            return found
        if not Path(wanted).is_file():
            advice = "give --ckpt_path a file, last or best"
            raise MissingFileError(Path(wanted).name, Path(wanted).parent, advice)
        return Path(wanted)

    def _model_name(self) -> str | None:
        flags = self.words.flags
        for here, following in zip(flags, [*flags[1:], ""]):
            name, equals, value = here.partition("=")
            if name in ("--model", "--model.class_path"):
                return (value if equals else following).rpartition(".")[2]
        return None

    def _kept(self) -> dict[str, Any]:
        """Return the checkpoint's model (and data, where none is given) as a configuration."""
        if self.origin is None:
            return {}
        kept: dict[str, Any] = {}
        written = self.written.get("model")
        model = self.origin.model or (written.get("class_path") if isinstance(written, dict) else written)
        if model:
            kept["model"] = {"class_path": model, "init_args": self.origin.model_arguments}
        elif not self.words.names("model"):
            raise SettingError(
                "ckpt_path", str(self.checkpoint), "a checkpoint that names its model", "Give --model too"
            )
        if "data" not in self.written and not self.words.names("data") and self.origin.data:
            kept["data"] = {"class_path": self.origin.data, "init_args": self.origin.data_arguments}
        return kept


def _stem(path: Path) -> str:
    saved = path.stem == "config" and path.resolve().parent.name.startswith("version_")
    return path.resolve().parent.parent.name if saved else path.stem
