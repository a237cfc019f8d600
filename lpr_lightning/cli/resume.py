"""What a checkpoint says about its model and data, and what of it a command line overrules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lpr_lightning.bases.staged import datamodule_of
from lpr_lightning.cli.parsing import Settings
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import ORIGIN, UNRECORDED, Plain, class_path, plain, unreadable


@dataclass(frozen=True)
class Origin:
    """The classes and arguments that a checkpoint was made with; a class is None where it is not recorded.

    `unrecorded` are the classes of the model's parts that recorded no arguments, by their dotted names.
    """

    model: str | None
    model_arguments: Settings
    data: str | None
    data_arguments: Settings
    unrecorded: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Origin:
        """Read it from a checkpoint file; no code of the file is run.

        Raises:
            SettingError: the file is no whole checkpoint of tensors and plain values.
        """
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            names, model = checkpoint.get(ORIGIN, {}), _arguments(checkpoint.get("hyper_parameters", {}))
            flat = leaves(model)
            parts = [name.removesuffix(f".{UNRECORDED}") for name in flat if name.endswith(f".{UNRECORDED}")]
            return cls(
                model=names.get("model"),
                model_arguments=recorded(model),
                data=names.get("data"),
                data_arguments=recorded(_arguments(checkpoint.get("datamodule_hyper_parameters", {}))),
                unrecorded={part: str(flat[f"{part}.class_path"]) for part in parts},
            )
        except Exception as error:
            allowed = "a whole checkpoint of tensors and plain values"
            raise SettingError("ckpt_path", str(path), allowed, unreadable(error)) from error

    def check_unrecorded(self, final: Settings) -> None:
        """Refuse other classes in the `final` settings (by dotted name) where the checkpoint recorded no arguments.

        Raises:
            SettingError: names the part and its class.
        """
        for part, name in self.unrecorded.items():
            given = final.get(f"{part}.class_path")
            if given != name:
                allowed = f"{name}, as in the checkpoint, which did not record its arguments"
                raise SettingError(f"model.{part}", given, allowed, f"Give --model.{part} its class path")


def _arguments(saved: Mapping[str, object]) -> Settings:
    """Return a checkpoint's arguments, without those of Lightning."""
    return {key: plain(value) for key, value in saved.items() if not key.startswith("_")}


def recorded(settings: Settings) -> Settings:
    """Return settings without the descriptions of modules that recorded no arguments, so that others' stand.

    >>> recorded({"a": {"init_args": {"tracer": {"class_path": "mine.T", "unrecorded": True}, "width": 3}}})
    {'a': {'init_args': {'width': 3}}}
    """
    kept = {key: value for key, value in settings.items() if not _unrecorded(value)}
    return {key: recorded(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _unrecorded(value: Plain) -> bool:
    """Return whether a description, or one within a list, is of a module that recorded no arguments."""
    if isinstance(value, list):
        return any(_unrecorded(one) or (isinstance(one, dict) and recorded(one) != one) for one in value)
    return isinstance(value, dict) and UNRECORDED in value


def leaves(value: Plain, prefix: str = "") -> Settings:
    """Return nested settings by dotted name; `init_args` is left out of names, packages are left out of classes.

    >>> leaves({"net": {"class_path": "a.B", "init_args": {"width": 3}}, "size": [1, 2]})
    {'net.class_path': 'B', 'net.width': 3, 'size': [1, 2]}
    """
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        value = {str(number): one for number, one in enumerate(value)}
    if not isinstance(value, dict) or not value:
        return {} if value == {} else {prefix: value}
    flat: Settings = {}
    for key, one in value.items():
        inner = prefix if key in ("init_args", "dict_kwargs") else f"{prefix}.{key}".lstrip(".")
        flat.update(leaves(one.rpartition(".")[2] if key == "class_path" and isinstance(one, str) else one, inner))
    return flat


def report(key: str, saved: Settings, written: Settings, final: Settings) -> list[str]:
    """Say where the checkpoint (`saved`), configuration files (`written`) and the `final` settings of `key` differ.

    Returns the names of the settings in which flags overrule the checkpoint.

    >>> report("model", {"lr": 0.1, "width": 8}, {"lr": 0.1, "width": 9}, {"lr": 0.5, "width": 8})
    ['lr']
    """
    overruled = [name for name, value in saved.items() if name in final and final[name] != value]
    for name in overruled:
        rank_zero_info(f"--{key}.{name}: {final[name]!r} as the command line says (the checkpoint has {saved[name]!r})")
    for name, value in written.items():
        if name in saved and name not in overruled and saved[name] != value:
            rank_zero_info(
                f"--{key}.{name}: {saved[name]!r} as in the checkpoint (the configuration says {value!r}; "
                f"give --{key}.{name} {value!r} to change it)"
            )
    return overruled


class Provenance(Callback):
    """Writes into every checkpoint which classes its model and data are of."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]) -> None:
        """Name the classes."""
        data = datamodule_of(trainer)
        names = {"model": class_path(type(pl_module)), "data": None if data is None else class_path(type(data))}
        checkpoint[ORIGIN] = names


class OverruledOptimizers(Callback):
    """After a resume with overruled model settings, gives optimizers the new settings instead of the restored ones.

    A learning rate under a scheduler keeps the scheduler's progress: it is scaled by new over old base rate.
    """

    def __init__(self) -> None:
        self._fresh: list[list[dict[str, float]]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the settings that the model gave."""
        self._fresh = [
            [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
            for optimizer in trainer.optimizers
        ]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put them in place of the restored ones."""
        for optimizer, fresh in zip(trainer.optimizers, self._fresh, strict=True):
            for group, new in zip(optimizer.param_groups, fresh, strict=True):
                base = new.get("initial_lr", new["lr"])
                rate = group["lr"] * base / group["initial_lr"] if group.get("initial_lr") else base
                group.update(new)
                group["lr"] = rate
        for config in trainer.lr_scheduler_configs:
            rates = [group.get("initial_lr", group["lr"]) for group in config.scheduler.optimizer.param_groups]
            if "base_lrs" in vars(config.scheduler):
                vars(config.scheduler)["base_lrs"] = rates
