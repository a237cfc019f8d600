"""Figures that took long, kept in files under all that they depend on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from lpr_lightning.cache import atomic_write


def kept_tensors(path: Path, compute: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return named tensors from a file, computed and written where it is not there.

    Args:
        path: a `.safetensors` file, whose name says what the tensors depend on.
        compute: makes them.
    """
    if not path.is_file():
        found = {name: value.contiguous() for name, value in compute().items()}
        with atomic_write(path) as temporary:
            save_file(found, temporary)
    return load_file(path)


def kept_numbers(path: Path, compute: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """Return named numbers from a JSON file, computed and written where it is not there."""
    if not path.is_file():
        text = json.dumps(dict(compute()))
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return found
