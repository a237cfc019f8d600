"""Constructor arguments as plain values, so that a checkpoint can rebuild its module without pickle.

Nested objects become `{"class_path": …, "init_args": …}`, the form that configuration files use. What comes from a
checkpoint may be anybody's: only classes of this package, and of packages that the user allowed by name, are built from
it, and only where their base class is the one that is expected, which is looked at before an object is made.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pickle
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.model_helpers import _restricted_classmethod
from torch import nn

from lpr_lightning.errors import MissingFileError, SettingError

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
Kind = TypeVar("Kind")

ALLOWED_PACKAGES = ["lpr_lightning"]
"""Packages whose classes a checkpoint may name; append to it to allow another one, with all of its modules."""
CONFIGURABLE = ("lightning", "torch", "torchmetrics")
"""Packages whose classes a configuration, which the user wrote, may name too."""
ORIGIN = "lpr_lightning"
"""A checkpoint's entry that names the class of its model."""
ALLOW = "If you trust all of {0}: --allow_package {0}"
"""Advice on a class of a package that is not allowed."""
UNRECORDED = "unrecorded"
"""Marks the description of a module that did not record its arguments."""
_ARGUMENTS = ("hyper_parameters", "datamodule_hyper_parameters", "hparams", "module_arguments")
"""Entries in which Lightning looks for constructor arguments."""
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

    >>> built({"class_path": "lpr_lightning.nets.dkt.DKTNet", "init_args": {"num_concepts": 2}}, torch.nn.Identity)
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.SettingError: class_path='lpr_lightning.nets.dkt.DKTNet' cannot be used: expected a Identity.
    """
    if isinstance(value, Mapping) and "class_path" in value:
        result = _from_description(value, [kind])
        if isinstance(result, kind):
            return result
        raise SettingError("class_path", value["class_path"], f"a {kind.__name__}")
    if value is None or isinstance(value, kind):
        return value
    raise SettingError(type(value).__name__, value, f"a {kind.__name__}")


def built_each(values: Sequence[Kind | Mapping[str, object]] | None, kind: type[Kind]) -> list[Kind]:
    """Return the objects that plain descriptions stand for; none for None."""
    return [one for value in values or () if (one := built(value, kind)) is not None]


def check_allowed(path: object) -> None:
    """Refuse the path of a class outside the allowed packages; nothing is imported.

    Raises:
        SettingError: says how to allow its package.

    >>> check_allowed("lpr_lightning.models.dkt.DKT")
    >>> check_allowed("DKT")
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.SettingError: class_path='DKT' cannot be used: expected the whole path of a class.
    """
    package = str(path).partition(".")[0]
    if package in ALLOWED_PACKAGES and "." in str(path):
        return
    if not package.isidentifier() or "." not in str(path):
        raise SettingError("class_path", path, "the whole path of a class")
    allowed = f"a class of an allowed package ({', '.join(ALLOWED_PACKAGES)})"
    advice = f"{ALLOW.format(package)}, or in Python lpr_lightning.hparams.ALLOWED_PACKAGES.append({package!r})"
    raise SettingError("class_path", path, allowed, advice)


def _from_description(value: Mapping[str, object], kinds: Sequence[type]) -> object:
    """Return a new object of one of the `kinds`."""
    path = value["class_path"]
    if not isinstance(path, str):
        raise SettingError("class_path", path, "the path of a class")
    cls = _found(path)
    if value.get(UNRECORDED):
        advice = "give the object itself, as in load_from_checkpoint(path, simulator=...)"
        raise SettingError("class_path", path, "a class that records its arguments", advice)
    if not any(_admits(kind, cls) for kind in kinds) or inspect.isabstract(cls):
        raise SettingError("class_path", path, " or ".join(f"a {kind.__name__}" for kind in kinds))
    given = value.get("init_args")
    init_args = {str(key): one for key, one in given.items()} if isinstance(given, Mapping) else {}
    try:
        inspect.signature(cls).bind(**init_args)
    except TypeError as error:
        raise SettingError("class_path", path, "a class with these arguments", str(error)) from error
    expected = _expected(cls)
    return cls(**{key: _nested(one, expected.get(key, [])) for key, one in init_args.items()})


def _found(path: str) -> type:
    """Return the class of a path: one that a module of an allowed package defines, not one that it imports."""
    check_allowed(path)
    module, _, name = path.rpartition(".")
    try:
        found: object = vars(importlib.import_module(module)).get(name)
    except (ImportError, ValueError) as error:
        raise SettingError("class_path", path, "a class that can be imported", str(error)) from error
    if not isinstance(found, type):
        raise SettingError("class_path", path, "a class of an allowed package")
    check_allowed(f"{found.__module__}.{found.__qualname__}")
    home = sys.modules.get(found.__module__)
    is_own = home is not None and vars(home).get(found.__name__) is found
    if not is_own:
        raise SettingError("class_path", path, "a class where it is defined", f"{found.__module__} does not define it")
    return found


def _admits(kind: type, cls: type) -> bool:
    """Return whether a class is of a kind: a subclass, or one with all calls of a protocol."""
    if not vars(kind).get("_is_protocol"):
        return issubclass(cls, kind)
    calls = {
        name
        for base in kind.__mro__
        if vars(base).get("_is_protocol")
        for name, one in vars(base).items()
        if callable(one) and not name.startswith("_")
    }
    return all(callable(inspect.getattr_static(cls, name, None)) for name in calls)


def _expected(cls: type) -> dict[str, list[type]]:
    """Return the classes that each argument of a constructor is annotated with, plain values apart."""
    try:
        # a dataclass inherits fields whose annotations are names of another file
        described = cls if dataclasses.is_dataclass(cls) else inspect.getattr_static(cls, "__init__")
        hints = typing.get_type_hints(described)
    except (NameError, TypeError, AttributeError):  # annotations that cannot be resolved expect nothing
        return {}
    return {name: list(_classes(hint)) for name, hint in hints.items() if name != "return"}


def _classes(hint: object) -> Iterator[type]:
    if inner := typing.get_args(hint):
        for one in inner:
            yield from _classes(one)
    elif isinstance(hint, type) and hint.__module__ != "builtins" and not issubclass(hint, Path | Mapping | Sequence):
        yield hint


def _nested(value: object, kinds: Sequence[type]) -> object:
    """Return a constructor's argument with its descriptions built, where it is known what they must be of.

    Where it is not, they stay as they are: the constructor says what it wants by `built`.
    """
    if isinstance(value, list | tuple):
        return type(value)(_nested(one, kinds) for one in value)
    if not isinstance(value, Mapping):
        return value
    if "class_path" in value:
        return _from_description(value, kinds) if kinds else value
    return {key: _nested(one, kinds) for key, one in value.items()}


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
    allowed = "a checkpoint that names the class and the arguments of its model"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        description = {"class_path": content[ORIGIN]["model"], "init_args": dict(content["hyper_parameters"])}
        weights = dict(content["state_dict"])
    except Exception as error:
        raise SettingError("tracer", str(path), allowed, unreadable(error)) from error
    module = _from_description(description, [nn.Module])
    try:
        if isinstance(module, nn.Module):
            module.load_state_dict(weights)
            return module
    except (RuntimeError, TypeError, AttributeError) as error:
        raise SettingError("tracer", str(path), "a checkpoint with the weights of its model", str(error)) from error
    raise SettingError("tracer", str(path), "a checkpoint of a module")


def unreadable(error: Exception) -> str:
    """Return in one line why a checkpoint cannot be read; without torch's advice to execute what is in it.

    >>> unreadable(KeyError("hyper_parameters"))
    "KeyError: 'hyper_parameters'"
    """
    if isinstance(error, pickle.UnpicklingError):
        found = re.search(r"(?:GLOBAL|Unsupported class) ([\w.]+)", str(error))
        return f"It holds {found[1] if found else 'something'} that is neither, which is not executed"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def check_plain(checkpoint: object) -> None:
    """Refuse a checkpoint file whose arguments ask Lightning to build them by a parser, which imports what they name.

    Anything but the path of a file is left alone.

    Raises:
        SettingError: the file asks for it, or is no checkpoint of tensors and plain values.
    """
    if not isinstance(checkpoint, str | Path) or not Path(checkpoint).is_file():
        return
    allowed = "a checkpoint of tensors and plain values"
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        keys = [key for name in _ARGUMENTS for key in content.get(name, {})]
    except Exception as error:
        raise SettingError("checkpoint_path", str(checkpoint), allowed, unreadable(error)) from error
    if found := [key for key in keys if key in ("_instantiator", "_class_path")]:
        advice = f"Its arguments have {found[0]!r}, by which Lightning builds classes of any package"
        raise SettingError("checkpoint_path", str(checkpoint), allowed, advice)


class PlainLoading:
    """Mixed into modules and datamodules, lets `load_from_checkpoint` build them by their constructors alone.

    Tensors and plain values are all that is read, unless `weights_only=False` is given.
    """

    if not typing.TYPE_CHECKING:  # the signature is Lightning's

        @_restricted_classmethod
        def load_from_checkpoint(cls, checkpoint_path, *args, **kwargs):
            """Refuse arguments that Lightning would hand to a parser; see `LightningModule.load_from_checkpoint`."""
            check_plain(checkpoint_path)
            if len(args) < 2:
                kwargs.setdefault("weights_only", True)
            return super().load_from_checkpoint(checkpoint_path, *args, **kwargs, _instantiator=None)
