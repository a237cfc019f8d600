"""Which class or option a misspelt one was perhaps meant to be."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches

from lightning.pytorch import Trainer

from lpr_lightning.cli.names import short_names
from lpr_lightning.cli.parsing import Settings
from lpr_lightning.hparams import Plain

_OPTIONS = (
    *("config", "model", "data", "trainer", "ckpt_path", "seed_everything", "test_after_fit", "allow_untrained"),
    *("allow_package", "print_config", "traceback", "help", "return_predictions", "verbose", "weights_only"),
)
_CLASSES = (r"import path string: (\w+)", r"has no attribute '(\w+)'")
_ARGUMENTS = (r"[Oo]ption '([\w.]+)' is not accepted", r"does not accept option '([\w.]+)'", r"--([A-Za-z_][\w.]*)")


def advice(message: str, settings: Iterable[Settings], flags: Iterable[str]) -> str:
    """Return a sentence that names the closest known class or option; an empty text where none is close.

    Args:
        message: the parser's error.
        settings: those of the configuration files.
        flags: those of the command line.

    >>> advice("model: Expected a dot import path string: DTK", [], [])
    ' Did you mean DKT?'
    >>> advice("unrecognized arguments: --trainer.max_epoch=1", [], [])
    ' Did you mean --trainer.max_epochs?'
    >>> advice("model: Option 'embeding_size' is not accepted", [{"model": {"class_path": "DKT"}}], [])
    ' Did you mean embedding_size?'
    """
    for pattern in _CLASSES:
        if found := re.search(pattern, message):
            return _sentence(found[1], short_names())
    for pattern in _ARGUMENTS:
        if found := re.search(pattern, message):
            return _option(found[1], "--" if pattern.startswith("--") else "", settings, flags)
    return ""


def _option(name: str, dashes: str, settings: Iterable[Settings], flags: Iterable[str]) -> str:
    head, _, last = name.rpartition(".")
    if not head and not dashes:
        return _sentence(last, set(_arguments(settings, flags)))
    first, _, rest = name.partition(".")
    if first not in _OPTIONS:
        return _sentence(first, _OPTIONS, dashes, f".{rest}" if rest else "")
    known = inspect.signature(Trainer).parameters if first == "trainer" else set(_arguments(settings, flags))
    return _sentence(last, known, f"{dashes}{head}." if head else dashes)


def _sentence(name: str, known: Iterable[str], before: str = "", after: str = "") -> str:
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {before}{close[0]}{after}?" if close and close[0] != name else ""


def _arguments(settings: Iterable[Settings], flags: Iterable[str]) -> Iterator[str]:
    """Yield the names of the arguments of every class that settings and flags name, those of its bases too."""
    paths = {path for layer in settings for path in _class_paths(layer)}
    paths |= {flag.partition("=")[2] or flag for flag in flags}
    for path in paths:
        module, _, name = short_names().get(path, path).rpartition(".")
        with suppress(ImportError):
            if module.startswith("lpr_lightning."):
                importlib.import_module(module)
        holder = sys.modules.get(module)  # others' modules are imported by nothing but the parser
        cls = vars(holder).get(name) if holder is not None else None
        for base in cls.__mro__ if isinstance(cls, type) else ():
            if "__init__" in vars(base):
                yield from inspect.signature(vars(base)["__init__"]).parameters


def _class_paths(value: Plain) -> Iterator[str]:
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _class_paths(one)
    if isinstance(value, dict) and isinstance(path := value.get("class_path"), str):
        yield path
