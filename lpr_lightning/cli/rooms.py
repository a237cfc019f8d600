"""Which classes a command line may name: those of the allowed packages, and by short name those of this package."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager

from jsonargparse import set_parsing_settings

from lpr_lightning import hparams
from lpr_lightning.errors import SettingError

ROOMS = (
    "callbacks",
    "datamodules",
    "models",
    "preparation",
    "demonstrations",
    "simulators",
    "objectives",
    "tasks",
    "nets",
)


def class_paths() -> dict[str, str]:
    """Import every room and return the full path of each of their public classes by its short name."""
    paths: dict[str, str] = {}
    for room in ROOMS:
        package = importlib.import_module(f"lpr_lightning.{room}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for name, value in inspect.getmembers(module, inspect.isclass):
                if value.__module__ == module.__name__ and not name.startswith("_"):
                    paths[name] = f"{module.__name__}.{name}"
    return paths


@contextmanager
def allowed(packages: list[str]) -> Iterator[None]:
    """Within the block, let configurations name classes of `packages` (and of `$LPR_ALLOW_PACKAGES`) too.

    Class paths outside the allowed packages are refused before anything is imported.
    """
    extra = [*packages, *filter(None, os.environ.get("LPR_ALLOW_PACKAGES", "").replace(" ", "").split(","))]
    for name in extra:
        if not name.isidentifier():
            raise SettingError("allow_package", name, "the name of a top-level package, such as my_project")
    before = list(hparams.ALLOWED_PACKAGES)
    hparams.ALLOWED_PACKAGES.extend(name for name in extra if name not in before)
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=hparams.ALLOWED_PACKAGES)
    try:
        yield
    finally:
        hparams.ALLOWED_PACKAGES[:] = before
        set_parsing_settings(import_path_denylist=[name for name in extra if name not in before])
