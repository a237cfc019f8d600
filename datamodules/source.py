"""Finding, opening and identifying the files of a data set: plain, .gz or .zip."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from lpr_lightning.cache import atomic_write, fingerprint
from lpr_lightning.errors import DataError, MissingFileError

SUFFIXES = ("", ".gz", ".zip")
_DAMAGED = (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error)


class BinaryFile(Protocol):
    """What an open file can do, packed or not."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, /) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


def find_file(root: str | Path, names: Sequence[str], advice: str) -> Path:
    """Return the first of `names`, plain or packed, in the folder `root` or below it; `root` may be the file itself.

    Raises:
        MissingFileError: there is none; `advice` says where to get it.
    """
    found = optional_file(root, names)
    if found is None:
        raise MissingFileError(" or ".join(names) + " (plain, .gz or .zip)", Path(root).expanduser(), advice)
    return found


def existing_file(path: str, argument: str) -> Path:
    """Return the path of a file that `--data.ARGUMENT` names.

    Raises:
        MissingFileError: it is not there.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingFileError(file.name, file.parent, f"give --data.{argument} the path of a CSV file")
    return file


def optional_file(root: str | Path, names: Sequence[str]) -> Path | None:
    """Return the same as `find_file`, or None where there is none."""
    root = Path(root).expanduser()
    if root.is_file():
        return root
    packed = [name + suffix for name in names for suffix in SUFFIXES]
    for name in packed:
        if (root / name).is_file():
            return root / name
    for name in packed if root.is_dir() else ():
        if found := sorted(root.rglob(name)):
            return found[0]
    return None


def folder_of(root: str | Path) -> Path:
    """Return the folder that `root` is, or that the file `root` lies in."""
    path = Path(root).expanduser()
    return path.parent if path.is_file() else path


@contextmanager
def open_source(path: Path) -> Iterator[BinaryFile]:
    """Open `path` for reading bytes, unpacked; a damaged archive becomes a DataError.

    A .zip must hold one file, or one whose name is that of the archive without its ending.
    """
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(_member(archive, path)) as file:
                yield file
        elif path.suffix == ".gz":
            with gzip.open(path) as unpacked:
                yield unpacked
        else:
            with path.open("rb") as plain:
                yield plain
    except _DAMAGED as error:
        raise DataError(path, f"the archive is truncated or damaged ({error}); fetch it again") from error
    except IsADirectoryError as error:
        raise DataError(path, "this is a folder, not a file") from error
    except PermissionError as error:
        raise DataError(path, "the file may not be read; change its permissions") from error


def content_hash(path: Path, memory: Path) -> str:
    """Return the hash of a file's bytes, remembered in the folder `memory` under its path, size and time of change."""
    return contents_hash([path], memory)


def contents_hash(paths: Sequence[Path], memory: Path) -> str:
    """Return one hash of the bytes of several files, remembered in the folder `memory` like that of one."""
    stats = [path.stat() for path in paths]
    known = memory / f"{fingerprint(*(str(path.resolve()) for path in paths))}.json"
    mark = fingerprint(*([stat.st_size, stat.st_mtime_ns] for stat in stats))
    try:
        remembered = json.loads(known.read_text())
        if remembered["mark"] == mark:
            return str(remembered["hash"])
    except (OSError, ValueError, KeyError, TypeError):
        known.unlink(missing_ok=True)
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    digest = digests[0] if len(digests) == 1 else fingerprint(*digests)
    with atomic_write(known) as temporary:
        temporary.write_text(json.dumps({"mark": mark, "hash": digest}))
    return digest


def _member(archive: zipfile.ZipFile, path: Path) -> str:
    if any(info.flag_bits & 1 for info in archive.infolist()):
        raise DataError(path, "the archive asks for a password; unpack it yourself")
    names = [info.filename for info in archive.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
    if len(names) == 1:
        return names[0]
    for name in names:
        if Path(name).name == path.stem:
            return name
    raise DataError(path, f"expected one file, or one named {path.stem}, in the archive, found {len(names)}")
