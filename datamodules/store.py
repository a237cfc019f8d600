"""The cache of read data sets: one file each, either whole or made again."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lpr_lightning.cache import alone, atomic_write, fingerprint
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.errors import DataError
from lpr_lightning.types import Interactions

FORMAT = 1
"""Part of every cache key: raised when this file changes what it writes."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Vocabulary:
    """The small part of a stored table: names and counts."""

    learners: list[str]
    items: list[str]
    concepts: list[str]
    concept_names: list[str]
    item_texts: list[str]
    counts: dict[str, int]


@dataclass(frozen=True)
class StoredTable:
    """The table of the data set `name` in the cache: `read` is called wherever its file is absent or damaged.

    Args:
        folder: of the cache.
        name: of the data set, part of the file's.
        source: JSON-able values that change whenever what `read` returns does.
        read: reads the source.

    Raises:
        DataError: what `read` returns holds no answer, or cannot be stored.
    """

    folder: Path
    name: str
    source: list[object]
    read: Callable[[], AnswerTable]

    @property
    def key(self) -> str:
        """Hash of the data set's name, its source and the file's format."""
        return fingerprint(FORMAT, self.name, self.source)

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.name.lower()}-{self.key}.safetensors"

    def vocabulary(self) -> Vocabulary:
        """Return the names alone."""
        return self._found(_load_vocabulary)

    def table(self) -> AnswerTable:
        """Return the whole table, its tensors mapped from disk."""
        return self._found(_load_table)

    def _found(self, load: Callable[[Path], Found | None]) -> Found:
        found = load(self.path)
        if found is None:
            with alone(self.path):  # of all processes of a run one reads, the others wait for what it stores
                found = load(self.path)
                return self._read_and(load) if found is None else found
        return found

    def _read_and(self, load: Callable[[Path], Found | None]) -> Found:
        table = self.read()
        if not len(table.log):
            raise DataError(self.name, f"no answer is left of the rows that were read: {table.counts}")
        _save_table(table, self.path)
        found = load(self.path)
        if found is None:
            raise DataError(self.path, "what was just written cannot be read back; is the disk full?")
        return found


def _save_table(table: AnswerTable, path: Path) -> None:
    """Write `table` to `path` at one stroke, with a checksum for each tensor."""
    tensors = {
        "offsets": table.log.offsets,
        "item": table.log.item,
        "concept": table.log.concept,
        "correct": table.log.correct,
    }
    if table.log.time is not None:
        tensors["time"] = table.log.time
    if table.prerequisites is not None:
        tensors["prerequisites"] = table.prerequisites
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    names = [table.learners, table.items, table.concepts, table.concept_names, table.item_texts]
    text = json.dumps([*names, table.counts])
    metadata = {
        "format": str(FORMAT),
        "vocabulary": text,
        "checksums": json.dumps(
            {name: _checksum(tensor) for name, tensor in tensors.items()} | {"": zlib.crc32(text.encode())}
        ),
    }
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata)


def _load_vocabulary(path: Path) -> Vocabulary | None:
    """Return the names of a stored table, or None where the file is absent or damaged (it is then removed)."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if zlib.crc32(metadata["vocabulary"].encode()) != json.loads(metadata["checksums"])[""]:
            raise ValueError("checksum")
        return Vocabulary(*json.loads(metadata["vocabulary"]))
    except (SafetensorError, KeyError, ValueError, TypeError, OSError):
        path.unlink(missing_ok=True)
        return None


def _load_table(path: Path) -> AnswerTable | None:
    """Return a stored table, its tensors mapped from disk, or None where the file is absent or damaged."""
    names = _load_vocabulary(path)
    if names is None:
        return None
    try:
        with safe_open(path, "pt") as file:
            checksums = json.loads(file.metadata()["checksums"])
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if any(_checksum(tensor) != checksums[name] for name, tensor in tensors.items()):
            raise ValueError("checksum")
        log = Interactions(
            offsets=tensors["offsets"],
            learner=torch.arange(len(names.learners)),
            item=tensors["item"],
            concept=tensors["concept"],
            correct=tensors["correct"],
            time=tensors.get("time"),
        )
    except (SafetensorError, KeyError, ValueError, OSError):
        path.unlink(missing_ok=True)
        return None
    return AnswerTable(
        log,
        names.learners,
        names.items,
        names.concepts,
        names.concept_names,
        names.counts,
        tensors.get("prerequisites"),
        names.item_texts,
    )


def _checksum(tensor: Tensor) -> int:
    return zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data) if tensor.numel() else 0
