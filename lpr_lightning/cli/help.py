"""The help of a subcommand, rendered once and kept in the cache, so that nothing heavy is imported for it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import io
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import lpr_lightning
from lpr_lightning.cache import atomic_write, cache_root
from lpr_lightning.cli.names import short_names

_LIBRARIES = ("lightning", "jsonargparse")
_PARTS = {"model": "models", "data": "datamodules"}


def subcommand_help(subcommand: str, common: str) -> str:
    """Return the help of a subcommand: options of the trainer, and those of every model and data set.

    Args:
        subcommand: fit, validate, test or predict.
        common: the options that every subcommand has beside them, described.
    """
    columns = shutil.get_terminal_size().columns
    file = cache_root() / "help" / f"{subcommand}-{_key(columns, common)}.txt"
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8")
    text = _rendered(subcommand) + "\n" + common
    with contextlib.suppress(OSError), atomic_write(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return text


def _key(*parts: object) -> str:
    """Return a hash of the sources, of the versions of what renders them, and of `parts`."""
    digest = hashlib.sha256(repr((lpr_lightning.__version__, sys.version, parts)).encode())
    for library in _LIBRARIES:
        digest.update(version(library).encode())
    root = Path(lpr_lightning.__file__).parent
    for folder, _, names in sorted(os.walk(root, followlinks=True)):
        for name in sorted(one for one in names if one.endswith(".py")):
            digest.update(name.encode())
            digest.update(Path(folder, name).read_bytes())
    return digest.hexdigest()[:16]


def _rendered(subcommand: str) -> str:
    from lpr_lightning.cli.session import run

    classes = _classes()  # first, so that the trainer's part knows them all
    captured = io.StringIO()
    with contextlib.redirect_stdout(captured), contextlib.suppress(SystemExit):
        run([subcommand, "--help"])
    return "\n".join([captured.getvalue().rstrip(), *classes])


def _classes() -> list[str]:
    """Return a section for each public model and data set: its name, what it is, and its options."""
    from jsonargparse import ArgumentParser
    from lightning.pytorch import LightningDataModule, LightningModule

    bases = {"model": LightningModule, "data": LightningDataModule}
    sections: list[str] = []
    for path in short_names().values():  # first, so that each option names all classes that it takes
        importlib.import_module(path.rpartition(".")[0])
    for key, package in _PARTS.items():
        for name, path in short_names().items():
            module, _, last = path.rpartition(".")
            if not module.startswith(f"lpr_lightning.{package}."):
                continue
            cls = vars(importlib.import_module(module))[last]
            if not issubclass(cls, bases[key]):
                continue
            parser = ArgumentParser(add_help=False, usage="")
            parser.add_class_arguments(cls, key)
            text = parser.format_help()
            options = text[text.index(f"  --{key}.") :].rstrip()
            summary = (inspect.getdoc(cls) or "").partition("\n\n")[0]
            sections.append(f"\n--{key} {name}: {' '.join(summary.split())}\n{options}")
    return sections
