"""Constructor arguments as plain values, so that a checkpoint can rebuild its module without pickle.

Nested objects become `{"class_path": …, "init_args": …}`, the form that configuration files use. Only classes of
allowed packages are ever built from it.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from lpr_lightning.errors import MissingFileError, SettingError

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
Kind = TypeVar("Kind")

ALLOWED_PACKAGES = ["lpr_lightning", "lightning", "torch", "torchmetrics"]
"""Packages whose classes a configuration or a checkpoint may name; append to it to allow more."""
MODULES_ONLY = ("lightning", "torch", "torchmetrics")
"""Packages of which only modules are built: other classes of theirs open files and start processes."""
ORIGIN = "lpr_lightning"
"""A checkpoint's entry that names the class of its model."""
UNRECORDED = "unrecorded"
"""Marks the description of a module that did not record its arguments."""
_warned: set[str] = set()


def class_path(cls: type) -> str:
    """Return the import path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def plain(value: object) -> Plain:
    """Return `value` as JSON-able values.

    Dataclasses give their fields, modules their recorded arguments. A module that records none is described by its
    class alone, with one warning; nothing can rebuild it.

    >>> plain((1, [2.0, None], {"a": "b"}))
    [1, [2.0, None], {'a': 'b'}]
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    path = class_path(type(value))
    if dataclasses.is_dataclass(value):
        fields = {f.name: plain(vars(value)[f.name]) for f in dataclasses.fields(value) if f.init}
        return {"class_path": path, "init_args": fields}
    if isinstance(value, HyperparametersMixin) and ("_hparams" in vars(value) or not _has_arguments(type(value))):
        return {"class_path": path, "init_args": plain(dict(value.hparams))}
    if isinstance(value, nn.Module):
        if path not in _warned:
            _warned.add(path)
            rank_zero_warn(
                f"{type(value).__name__} does not record its arguments (save_hyperparameters): caches know it by its "
                "class and weights, and a checkpoint cannot rebuild it; give it again to load_from_checkpoint"
            )
        return {"class_path": path, UNRECORDED: True}
    raise SettingError(type(value).__name__, value, "plain values, dataclasses or modules")


def _has_arguments(cls: type) -> bool:
    return bool(inspect.signature(cls).parameters)


def arguments(scope: Mapping[str, object]) -> dict[str, Plain]:
    """Return a constructor's `locals()` as plain values: `self.save_hyperparameters(arguments(locals()))`.

    >>> arguments({"self": object(), "__class__": int, "width": 3})
    {'width': 3}
    """
    return {key: plain(value) for key, value in scope.items() if key not in ("self", "__class__")}


def built(value: Kind | Mapping[str, object] | None, kind: type[Kind]) -> Kind | None:
    """Return the object that a plain description stands for; None and objects of `kind` pass through.

    Raises:
        SettingError: it is of another kind, or its class is not one of an allowed package.

    >>> built({"class_path": "torch.nn.Identity", "init_args": {}}, torch.nn.Module)
    Identity()
    >>> built({"class_path": "os.system", "init_args": {}}, torch.nn.Module)
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.SettingError: class_path='os.system' cannot be used: expected a class of an allowed package.
    """
    if isinstance(value, Mapping) and "class_path" in value:
        return _from_description(value, kind)
    if value is None or isinstance(value, kind):
        return value
    raise SettingError(type(value).__name__, value, f"a {kind.__name__}")


def built_each(values: Sequence[Kind | Mapping[str, object]] | None, kind: type[Kind]) -> list[Kind]:
    """Return the objects that plain descriptions stand for; none for None."""
    return [one for value in values or () if (one := built(value, kind)) is not None]


def _from_description(value: Mapping[str, object], kind: type[Kind]) -> Kind:
    path = str(value["class_path"])
    if path.split(".")[0] not in ALLOWED_PACKAGES:
        raise SettingError("class_path", path, "a class of an allowed package")
    if value.get(UNRECORDED):
        advice = "give the object itself, as in load_from_checkpoint(path, simulator=...)"
        raise SettingError("class_path", path, "a class that records its arguments", advice)
    module, _, name = path.rpartition(".")
    try:
        found = vars(importlib.import_module(module)).get(name)
    except (ImportError, ValueError) as error:
        raise SettingError("class_path", path, "a class that can be imported", str(error)) from error
    if not isinstance(found, type) or (package := found.__module__.split(".")[0]) not in ALLOWED_PACKAGES:
        raise SettingError("class_path", path, "a class of an allowed package")
    if package in MODULES_ONLY and not issubclass(found, nn.Module):
        raise SettingError("class_path", path, f"a torch.nn.Module, where it is a class of {package}")
    given = value.get("init_args")
    init_args = given if isinstance(given, Mapping) else {}
    result = found(**{str(key): _nested(one) for key, one in init_args.items()})
    if not isinstance(result, kind):
        raise SettingError("class_path", path, f"a {kind.__name__}")
    return result


def _nested(value: object) -> object:
    if isinstance(value, list | tuple):
        return type(value)(_nested(one) for one in value)
    if isinstance(value, Mapping) and "class_path" in value:
        return _from_description(value, object)
    return value


def load_module(path: str | Path) -> nn.Module:
    """Return the module of a checkpoint, rebuilt from its recorded class and arguments, with its weights.

    Raises:
        MissingFileError: there is no such file.
        SettingError: it is no checkpoint, or names no class of an allowed package.
    """
    path = Path(path)
    if path.suffix != ".ckpt":
        advice = "a configuration (.yaml) is fitted first by the command line; in Python fit it, then give the module"
        raise SettingError("tracer", str(path), "a module, or the path of a .ckpt file", advice)
    if not path.is_file():
        raise MissingFileError(path.name, path.parent, "give the path of a checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        description = {"class_path": content[ORIGIN]["model"], "init_args": dict(content["hyper_parameters"])}
        weights = content["state_dict"]
    except Exception as error:
        allowed = "a checkpoint that names the class and the arguments of its model"
        raise SettingError("tracer", str(path), allowed, f"{type(error).__name__}: {error}") from error
    module = _from_description(description, nn.Module)
    module.load_state_dict(weights)
    return module
