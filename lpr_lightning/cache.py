"""Content-hashed files that are either whole or absent."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lpr_lightning.errors import LPRError, UnwritableFileError

STAGED = ".staged-"
"""What the names of temporary files begin with."""
LOCK = ".lock-"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def cache_root() -> Path:
    """Return the folder for everything that can be made again: `$LPR_CACHE`, else `~/.cache/lpr_lightning`."""
    return Path(os.environ.get("LPR_CACHE") or Path.home() / ".cache" / "lpr_lightning")


def fingerprint(*parts: object) -> str:
    """Hash JSON-able values, tensors and state dicts into 16 hex digits.

    >>> fingerprint({"a": 1}, [2]) == fingerprint({"a": 1}, [2])
    True
    >>> fingerprint(1) == fingerprint(2)
    False
    """
    import torch  # here, so that the command line's help needs no torch
    from torch import Tensor

    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(str((part.dtype, tuple(part.shape))).encode())
            digest.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(part, dict) and any(isinstance(value, Tensor) for value in part.values()):
            for key in sorted(part):
                digest.update(key.encode())
                digest.update(fingerprint(part[key]).encode())
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
        digest.update(b"|")
    return digest.hexdigest()[:16]


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it there when the block ends well, remove it when it does not.

    File and folder are on the disk when it returns; the file has the permissions that any new file gets.

    Raises:
        UnwritableFileError: the disk is full, or the folder cannot be written to.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_write(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [p.name for p in folder.iterdir()]
    ['a.txt']
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = _stage(path)
    except OSError as error:
        raise UnwritableFileError(path, error) from error
    try:
        yield temporary
        _to_disk(temporary)
        temporary.replace(path)
        _to_disk(path.parent)
    except OSError as error:
        named = error.filename is not None and str(error.filename) == str(temporary)
        if not isinstance(error, LPRError) and (named or error.errno in _NO_ROOM):
            raise UnwritableFileError(path, error) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one process after another into the block, of all those that call this for the same `path`.

    Others wait; a killed process lets the next one in. No file stays behind.

    Raises:
        UnwritableFileError: the disk is full, or the folder cannot be written to.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with alone(folder / "a.txt"):
    ...     len(list(folder.iterdir()))
    1
    >>> list(folder.iterdir())
    []
    """
    lock = path.with_name(f"{LOCK}{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(lock)
    except OSError as error:
        raise UnwritableFileError(path, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        os.close(handle)


def _locked(lock: Path) -> int:
    """Wait for the lock on a file; return a handle that holds it. A file that the one before removed is made anew."""
    while True:
        handle = os.open(lock, os.O_CREAT | os.O_WRONLY, 0o666)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), lock.stat()):
                return handle
        os.close(handle)


def sweep(folder: Path) -> list[Path]:
    """Remove the temporary files that killed processes left in a folder; return them. Files being written stay.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / f"{STAGED}0-a.txt").touch()
    >>> with atomic_write(folder / "b.txt") as temporary:
    ...     [path.name[-5:] for path in sweep(folder)], temporary.exists()
    (['a.txt'], True)
    """
    swept = []
    for path in folder.glob(f"{STAGED}*"):
        with suppress(OSError):  # another process writes it, or has removed it
            handle = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                swept.append(path)
            finally:
                os.close(handle)
    return swept


def _stage(path: Path) -> tuple[Path, int]:
    """Make a temporary file beside a path; return it and a handle that holds a lock on it while this process lives."""
    while True:
        temporary = path.with_name(f"{STAGED}{secrets.token_hex(4)}-{path.name}")
        try:
            handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            continue
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return temporary, handle


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot do it for folders
            raise
    finally:
        os.close(handle)
