"""First fits: a tracer that a model or a task names by a configuration is fitted before that is built, and cached."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from jsonargparse import Namespace
from lightning.pytorch import LightningModule

from lpr_lightning.cache import atomic_write, cache_root, fingerprint
from lpr_lightning.callbacks import StageProgressBar
from lpr_lightning.cli.parsing import CONFIGS, TRACER, Settings, read_config, tracer_paths
from lpr_lightning.errors import MissingFileError, SettingError
from lpr_lightning.hparams import ORIGIN, Plain
from lpr_lightning.protocols import LearnerData

FORMAT = 1
_OWN_DATA = ("task", "batch_size")
"""Arguments of the data that a tracer's configuration decides; the others are those of the run."""
TASKS = ("task", "further_tasks")
"""Arguments of the data that are tasks, whose tracers may be configurations: a tracer's fit is without those."""
_OF_THE_RUN = ("accelerator", "devices", "strategy", "precision", "num_nodes", "deterministic")
"""Arguments of the trainer that the run decides."""
_NOT_IN_KEY = (
    "accelerator",
    "devices",
    "strategy",
    "num_nodes",
    "default_root_dir",
    "enable_model_summary",
    "enable_progress_bar",
    "log_every_n_steps",
    "logger",
    "profiler",
)
"""Arguments of the trainer that a cached fit does not depend on: it serves runs on any device, and any number."""


class FirstFitProgressBar(StageProgressBar):
    """A progress bar that says what is fitted, and that it is not yet the run itself."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model

    def _get_train_description(self, current_epoch: int) -> str:
        return f"fitting {self.model} first: {super()._get_train_description(current_epoch)}"


def check_tracers(part: Namespace, from_checkpoint: bool) -> None:
    """Make the paths of tracers in a parsed model, or in parsed data, absolute, and refuse those that cannot be used.

    Raises:
        MissingFileError: there is no such file.
        SettingError: a configuration is to be fitted although the run starts from a checkpoint.
    """
    for holder, key, name in tracer_paths(part):
        path = Path(name).resolve()
        if not path.is_file():
            advice = "give a tracer's configuration (.yaml), relative to the file that names it, or its checkpoint"
            raise MissingFileError(path.name, path.parent, advice)
        if from_checkpoint and path.suffix in CONFIGS:
            advice = "a run that starts from a checkpoint fits no tracer; leave this out"
            raise SettingError(TRACER, name, "the tracer in the checkpoint", advice)
        holder[key] = str(path)


def describe_tracers(settings: Settings, short_names: Mapping[str, str]) -> None:
    """Put the model of each tracer's configuration in the place of its path; where the weights come from elsewhere."""
    for holder, key, name in tracer_paths(settings.get("model")):
        if Path(name).suffix in CONFIGS and Path(name).is_file():
            description = read_config(name, short_names)
            describe_tracers(description, short_names)
            holder[key] = description.get("model", name)


def fit_settings(path: Path, run: Settings, short_names: Mapping[str, str]) -> Settings:
    """Return the settings of a tracer's fit: its configuration, with data, devices and seed of the run.

    Args:
        path: the tracer's configuration.
        run: the run's own settings, parsed.
        short_names: full class paths by short names.

    Raises:
        SettingError: the configuration has no model.
    """
    own = read_config(str(path), short_names)
    if "model" not in own:
        allowed = "a configuration with a model, a trainer and, under data.init_args, a task"
        raise SettingError(TRACER, str(path), allowed, "configs/tracer/dkt.yaml is one")
    data, trainer, run_trainer = _mapping(run["data"]), _mapping(own.get("trainer")), _mapping(run["trainer"])
    arguments = {
        key: value for key, value in _mapping(data.get("init_args")).items() if key not in (*_OWN_DATA, *TASKS)
    }
    own_arguments = _mapping(_mapping(own.get("data")).get("init_args"))
    arguments |= {key: own_arguments[key] for key in _OWN_DATA if key in own_arguments}
    trainer |= {key: run_trainer[key] for key in (*_OF_THE_RUN, "enable_progress_bar")}
    trainer["enable_model_summary"] = False
    if few := run_trainer.get("fast_dev_run"):
        batches = 1 if few is True else few
        trainer |= {"limit_train_batches": batches, "limit_val_batches": batches}
    return {
        "seed_everything": run["seed_everything"],
        "test_after_fit": False,
        "model": own["model"],
        "data": data | {"init_args": arguments},
        "trainer": trainer,
    }


def cached_checkpoint(parsed: Settings, data: object, earlier: Mapping[str, str]) -> Path:
    """Return where the checkpoint of a fit is cached, whether it is there or not.

    Args:
        parsed: all settings of the fit.
        data: the run's data.
        earlier: keys of the fits that this one needs, by the path of their configuration.
    """
    described = _mapping(parsed["data"])
    arguments = _mapping(described.get("init_args"))
    identity: list[Plain] = [described]
    if isinstance(data, LearnerData):
        identity = [data.fingerprint, {key: arguments.get(key) for key in _OWN_DATA}]
    trainer = {key: value for key, value in _mapping(parsed["trainer"]).items() if key not in _NOT_IN_KEY}
    for holder, key, name in tracer_paths(parsed["model"]):
        holder[key] = earlier[name] if name in earlier else hashlib.sha256(Path(name).read_bytes()).hexdigest()
    key = fingerprint(FORMAT, parsed["model"], identity, trainer, parsed["seed_everything"])
    return cache_root() / "fits" / f"{key}.ckpt"


def store(checkpoint: Path, cached: Path) -> None:
    """Copy a checkpoint into the cache, whole or not at all."""
    with atomic_write(cached) as temporary:
        shutil.copyfile(checkpoint, temporary)


def check_recorded(model: LightningModule, path: Path) -> None:
    """Refuse, before it is fitted, a model that could not be rebuilt from its checkpoint."""
    if "_hparams" not in vars(model):
        allowed = f"a model that records its arguments, which {type(model).__name__} does not"
        advice = "call self.save_hyperparameters(lpr_lightning.hparams.arguments(locals())) in its constructor"
        raise SettingError(TRACER, str(path), allowed, advice)


def summary(checkpoint: Path) -> str:
    """Return the class of a fitted model and the figure that chose its checkpoint, as in "DKT, val/auc 0.792"."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    saved = [(state.get("monitor"), state.get("best_model_score")) for state in content.get("callbacks", {}).values()]
    figures = [f"{name} {float(score):.3f}" for name, score in saved if name and score is not None]
    return ", ".join([str(content[ORIGIN]["model"]).rpartition(".")[2], *figures[:1]])


def _mapping(value: Plain) -> Settings:
    """Return a copy of a mapping; an empty one for anything else."""
    return dict(value) if isinstance(value, dict) else {}
