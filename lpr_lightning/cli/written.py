"""What a run writes beside its checkpoints: its configuration, whole or not at all, and what a refusing disk says."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from lpr_lightning.cache import atomic_write
from lpr_lightning.callbacks.pictures import run_folder
from lpr_lightning.errors import LPRError, UnwritableFileError

_ONLY_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What nothing but writing can end in."""


class SavedConfig(SaveConfigCallback):
    """Saves the configuration of a run, whole or not at all; Lightning's own leaves the half where a disk is full."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save it, once.

        Raises:
            UnwritableFileError: the disk is full, or the folder cannot be written to.
        """
        if self.already_saved:
            return
        path = run_folder(trainer) / self.config_filename
        if trainer.is_global_zero:
            with atomic_write(path) as temporary:
                text = self.parser.dump(self.config, skip_unset=False)
                temporary.write_text(text, encoding="utf-8")
        self.already_saved = True


def unwritable(error: OSError, run: Path | None) -> UnwritableFileError | None:
    """Return the error of a file that a run could not write; None where another error is no such thing.

    Args:
        error: anything that the system refused.
        run: the run's folder, where it has one by now.

    >>> print(unwritable(OSError(28, "No space left on device"), Path("logs/dkt/version_0")))
    logs/dkt/version_0 could not be written: No space left on device. To mend it: make room or give a folder that can \
be written to; what was there before is as it was.
    >>> unwritable(FileNotFoundError(2, "No such file or directory", "log.csv"), Path("logs/dkt/version_0"))
    """
    if isinstance(error, LPRError) or run is None:
        return None
    named = Path(str(error.filename)) if error.filename is not None else run
    inside = error.filename is not None and named.resolve().is_relative_to(run.resolve())
    return UnwritableFileError(named, error) if inside or error.errno in _ONLY_WRITING else None


@contextmanager
def quiet_writers() -> Iterator[None]:
    """Leave out the traceback of TensorBoard's writing thread: the thread that waits for it raises the same error."""
    before = threading.excepthook

    def told(arguments: threading.ExceptHookArgs) -> None:
        writer = type(arguments.thread).__module__.startswith("tensorboard.")
        if not (writer and isinstance(arguments.exc_value, OSError)):
            before(arguments)

    threading.excepthook = told
    try:
        yield
    finally:
        threading.excepthook = before
