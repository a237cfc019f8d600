"""Checkpoints that are never torn: a CheckpointIO for any Trainer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn

from lpr_lightning.cache import sweep
from lpr_lightning.checked_files import previous, remove_checked, save_checked, whole_version
from lpr_lightning.errors import DamagedFileError

if TYPE_CHECKING:
    StrPath = str | Path


class SafeCheckpointIO(TorchCheckpointIO):
    """Saves checkpoints whole or not at all, notices damaged ones and falls back to the one before.

    One line for any Trainer: `Trainer(plugins=[SafeCheckpointIO()])`. A checkpoint is written beside its place, brought
    to the disk, read back and compared, and only then moved there; its SHA-256 stands beside it in `<name>.sha256`, the
    one that it replaced in `<name>.previous`. Loading compares the checksum; where it is wrong the previous one is
    loaded, with a remark. Files that killed saves left are removed when a folder is first saved to. A full disk or a
    folder that cannot be written to is an error (Lightning's own plugin overlooks the latter, stages in `$TMPDIR` and
    copies onto the checkpoint from there; what is killed meanwhile is torn).

    Addresses of other file systems (`s3://…`) are left to Lightning. Strategies that shard their checkpoints (FSDP,
    DeepSpeed) save by themselves and do not ask a CheckpointIO.

    Args:
        keep_previous: keep the checkpoint that a new one of the same name replaces, at the cost of its disk space.
    """

    def __init__(self, keep_previous: bool = True) -> None:
        self.keep_previous = keep_previous
        self._swept: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: StrPath, storage_options: object | None = None) -> None:
        """Save a checkpoint.

        Raises:
            UnwritableFileError: the disk is full or the folder cannot be written to; no half-written file stays.
        """
        if storage_options is not None or not _is_local(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        place = Path(path)
        if place.parent not in self._swept:
            self._swept.add(place.parent)
            sweep(place.parent)

        def write(file: IO[bytes]) -> None:
            torch.save(checkpoint, file)

        save_checked(place, write, self.keep_previous)

    def load_checkpoint(
        self,
        path: StrPath,
        map_location: Callable[..., Any] | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint, or, where it is damaged, the previous one.

        Raises:
            DamagedFileError: neither is whole.
        """
        if _is_local(path) and (os.path.isfile(path) or previous(Path(path)).is_file()):
            path = sound_checkpoint(Path(path))
        try:
            loaded: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only)
        except (RuntimeError, EOFError, OSError, UnpicklingError) as error:
            if isinstance(error, FileNotFoundError) or "weights_only" in str(error).lower():
                raise
            problem = f"it cannot be read ({type(error).__name__})"
            raise DamagedFileError(str(path), problem, "give another checkpoint") from error
        return loaded

    def remove_checkpoint(self, path: StrPath) -> None:
        """Remove a checkpoint and what stands beside it."""
        if _is_local(path) and not os.path.isdir(path):
            remove_checked(Path(path))
        else:
            super().remove_checkpoint(path)


def sound_checkpoint(path: Path) -> Path:
    """Return a checkpoint if it is whole, else the previous one, with a remark.

    Raises:
        DamagedFileError: neither is whole.
    """
    found = whole_version(path)
    if found != path:
        problem = "its checksum is wrong" if path.is_file() else "it is not there"
        rank_zero_warn(f"{path} is damaged ({problem}): going on with the one before it, {found}")
    return found


def _is_local(path: StrPath) -> bool:
    return "://" not in str(path)
