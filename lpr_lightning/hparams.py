"""Constructor arguments as plain values, so that a checkpoint can rebuild its module without pickle.

Nested objects become `{"class_path": …, "init_args": …}`, the form that configuration files use. Only classes of
allowed packages are ever built from it.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from lpr_lightning.errors import SettingError

ALLOWED_PACKAGES = ["lpr_lightning", "lightning", "torch", "torchmetrics"]
"""Packages whose classes a configuration or a checkpoint may name; append to it to allow more."""


def plain(value: Any) -> Any:
    """Return `value` as JSON-able values.

    Dataclasses give their fields, objects with `hparams` (modules of this package) their recorded arguments.

    >>> plain((1, [2.0, None], {"a": "b"}))
    [1, [2.0, None], {'a': 'b'}]
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        arguments = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    elif hasattr(value, "hparams"):
        arguments = plain(dict(value.hparams))
    else:
        raise SettingError(
            type(value).__name__, value, "plain values, dataclasses or modules that record their arguments"
        )
    return {"class_path": f"{type(value).__module__}.{type(value).__qualname__}", "init_args": arguments}


def arguments(scope: dict[str, Any]) -> dict[str, Any]:
    """Return a constructor's `locals()` as plain values: `self.save_hyperparameters(arguments(locals()))`.

    >>> arguments({"self": object(), "__class__": int, "width": 3})
    {'width': 3}
    """
    return {key: plain(value) for key, value in scope.items() if key not in ("self", "__class__")}


def built(value: Any) -> Any:
    """Return the object that a plain description stands for; anything else passes through.

    >>> built({"class_path": "torch.nn.Identity", "init_args": {}})
    Identity()
    >>> built({"class_path": "os.system", "init_args": {}})
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.SettingError: class_path='os.system' cannot be used: expected a class of an allowed package.
    """
    if isinstance(value, list | tuple):
        return type(value)(built(one) for one in value)
    if not (isinstance(value, dict) and "class_path" in value):
        return value
    path = str(value["class_path"])
    if path.split(".")[0] not in ALLOWED_PACKAGES:
        raise SettingError("class_path", path, "a class of an allowed package")
    module, _, name = path.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    if not isinstance(cls, type):
        raise SettingError("class_path", path, "a class")
    return cls(**{key: built(one) for key, one in (value.get("init_args") or {}).items()})
