"""The base of datamodules that read files from a folder, with or without a separate set of test learners."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

from rich.console import Console

from lpr_lightning.datamodules.base import LearnerDataModule, recorded
from lpr_lightning.datamodules.source import content_hash, contents_hash
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.errors import DataError

READING = 2
"""Part of every cache key: raised when a reader changes what it makes of the same files."""
_MANY = 8
"""Files above which one hash stands for all."""


class FileDataModule(LearnerDataModule):
    """Reads the files below `root`; learners of `test_root`, files of the same format, are all test learners.

    A subclass says which files it needs (`find`), how they become a table (`parse`) and, if it has options, which of
    them change what `parse` returns (`options`); it then records its own arguments too.

    Args:
        root: folder of the data set, or its main file.
        test_root: folder (or file) of a separate set of learners, who all become the test learners, in `root`'s
            vocabulary: answers on other concepts are dropped and counted. `root`'s learners are then split into train
            and val alone, in proportion to `split`.
        common: the arguments of `LearnerDataModule`.
    """

    def __init__(self, root: str, test_root: str | None = None, **common: Any) -> None:
        self.root = root
        self.test_root = test_root
        super().__init__(**common)
        self.save_hyperparameters({"root": root, "test_root": test_root} | recorded({"common": common}), logger=False)

    @abstractmethod
    def find(self, root: str) -> dict[str, Path]:
        """Return the files that `parse` needs, by role; raise MissingFileError where one is not there."""

    @abstractmethod
    def parse(self, files: dict[str, Path]) -> AnswerTable:
        """Read the files."""

    def options(self) -> list[object]:
        """Return JSON-able options that change what `parse` returns."""
        return []

    def source_key(self) -> list[object]:
        """Return the hashes of the files and the reading options."""
        return self._key_of(self.root)

    def test_key(self) -> list[object] | None:
        """Return the same of the test learners' files, or None where there are none."""
        return None if self.test_root is None else self._key_of(self.test_root)

    @property
    def test_source(self) -> str:
        """The folder or file of the test learners."""
        return str(self.test_root)

    def read(self) -> AnswerTable:
        """Read the files below `root`."""
        return self._read(self.root)

    def read_test(self) -> AnswerTable:
        """Read the files below `test_root`."""
        return self._read(self.test_root or self.root)

    def _key_of(self, root: str) -> list[object]:
        remembered = self.cache_dir / "hashes"
        found = dict(sorted(self.find(root).items()))
        if len(found) > _MANY:
            hashes: object = [list(found), contents_hash(list(found.values()), remembered)]
        else:
            hashes = {role: content_hash(path, remembered) for role, path in found.items()}
        return [READING, hashes, self.options()]

    def _read(self, root: str) -> AnswerTable:
        files = self.find(root)
        names = ", ".join(path.name for path in files.values()) if len(files) <= _MANY else f"{len(files):,} files"
        with Console(stderr=True).status(f"{type(self).__name__}: reading {names} (only the first time)"):
            table = self.parse(files)
        if not len(table.log):
            raise DataError(next(iter(files.values())), f"no answer is left of the rows that were read: {table.counts}")
        return table
