"""What a checkpoint says about its model and data, and what of it a command line overrules.

Flags beat the checkpoint, the checkpoint beats configuration files, these beat defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lpr_lightning.errors import SettingError

KEY = "lpr_lightning"
"""The checkpoint's entry that names the classes of its model and data and its run."""


@dataclass(frozen=True)
class Origin:
    """The classes and arguments that a checkpoint was made with; a class is None where it is not recorded."""

    model: str | None
    model_arguments: dict[str, Any]
    data: str | None
    data_arguments: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Origin:
        """Read it from a checkpoint file; no code of the file is run."""
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            names = checkpoint.get(KEY, {})
            return cls(
                model=names.get("model"),
                model_arguments=_public(checkpoint.get("hyper_parameters", {})),
                data=names.get("data"),
                data_arguments=_public(checkpoint.get("datamodule_hyper_parameters", {})),
            )
        except Exception as error:
            allowed = "a whole checkpoint of tensors and plain values"
            raise SettingError("ckpt_path", str(path), allowed, f"{type(error).__name__}: {error}") from error


def _public(arguments: Any) -> dict[str, Any]:
    return {key: value for key, value in dict(arguments).items() if not key.startswith("_")}


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name; `init_args` is left out of names, packages are left out of classes.

    >>> leaves({"net": {"class_path": "a.B", "init_args": {"width": 3}}, "size": (1, 2)})
    {'net.class_path': 'B', 'net.width': 3, 'size': [1, 2]}
    """
    if isinstance(value, list | tuple) and any(isinstance(one, dict) for one in value):
        value = {str(number): one for number, one in enumerate(value)}
    if isinstance(value, dict) and value:
        flat: dict[str, Any] = {}
        for key, one in value.items():
            inner = prefix if key in ("init_args", "dict_kwargs") else f"{prefix}.{key}".lstrip(".")
            flat.update(leaves(one.rpartition(".")[2] if key == "class_path" else one, inner))
        return flat
    return {} if value == {} else {prefix: list(value) if isinstance(value, tuple) else value}


def report(key: str, kept: dict[str, Any], given: dict[str, Any], final: dict[str, Any]) -> list[str]:
    """Say where checkpoint (`kept`), configuration files (`given`) and the `final` settings of `key` differ.

    Returns the names of the settings that the command line took from the checkpoint's hands.

    >>> report("model", {"lr": 0.1, "width": 8}, {"lr": 0.1, "width": 9}, {"lr": 0.5, "width": 8})
    ['lr']
    """
    overruled = [name for name, value in kept.items() if name in final and final[name] != value]
    for name in overruled:
        rank_zero_info(f"--{key}.{name}: {final[name]!r} as the command line says (the checkpoint has {kept[name]!r})")
    for name, value in given.items():
        if name in kept and name not in overruled and kept[name] != value:
            rank_zero_info(
                f"--{key}.{name}: {kept[name]!r} as in the checkpoint (the configuration says {value!r}; "
                f"give --{key}.{name} {value!r} to change it)"
            )
    return overruled


class Provenance(Callback):
    """Writes into every checkpoint which classes its model and data are of."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        data = getattr(trainer, "datamodule", None)
        checkpoint[KEY] = {"model": _path(pl_module), "data": None if data is None else _path(data)}


def _path(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


class OverruledOptimizers(Callback):
    """After a resume with overruled model settings, gives optimizers the new settings instead of the restored ones.

    A learning rate under a scheduler keeps the scheduler's progress: it is scaled by new over old base rate.
    """

    def __init__(self) -> None:
        self._fresh: list[list[dict[str, Any]]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fresh = [
            [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
            for optimizer in trainer.optimizers
        ]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for optimizer, fresh in zip(trainer.optimizers, self._fresh, strict=True):
            for group, new in zip(optimizer.param_groups, fresh, strict=True):
                base = new.get("initial_lr", new.get("lr"))
                rate = group["lr"] * base / group["initial_lr"] if group.get("initial_lr") else base
                group.update(new)
                group["lr"] = rate
        for config in trainer.lr_scheduler_configs:
            rates = [group.get("initial_lr", group["lr"]) for group in config.scheduler.optimizer.param_groups]
            if hasattr(config.scheduler, "base_lrs"):
                config.scheduler.base_lrs = rates
