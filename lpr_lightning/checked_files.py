"""Files with a checksum beside them and the previous good one kept, so that damage is noticed and can be undone."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lpr_lightning.cache import STAGED, atomic_write
from lpr_lightning.errors import DamagedFileError, UnwritableFileError

if TYPE_CHECKING:  # Python 3.12 has it in collections.abc
    from typing_extensions import Buffer

SUMS, PREVIOUS = ".sha256", ".previous"
"""What the names of the checksums and of the previous file end with: `last.ckpt.sha256`, `last.ckpt.previous`."""


def save_checked(path: Path, write: Callable[[IO[bytes]], object], keep_previous: bool = True) -> None:
    """Write a file beside its place, read it back, and only then move it there.

    At every moment the file itself or the previous one is whole, and the checksums beside them tell which. They are in
    the form of `sha256sum`.

    Args:
        path: the file's place.
        write: writes the content to a binary file, from front to end.
        keep_previous: keep the file that was there, if it is whole, as `<name>.previous`.

    Raises:
        UnwritableFileError: the disk is full, the folder cannot be written to, or what is read back is not what was
            written. What was there before stays.
    """
    with atomic_write(path) as temporary:
        with temporary.open("wb") as file:
            summed = _Summed(file)
            write(summed)
            summed.finish()
        if checksum(temporary) != summed.digest.hexdigest():
            raise UnwritableFileError(path, "what was read back is not what was written")
        replaced = checksum(path) if path.is_file() else None
        good = replaced if replaced is not None and _listed(path, replaced) else None
        lines = [(summed.digest.hexdigest(), path.name)]
        if good is not None:
            lines.append((good, path.name + PREVIOUS if keep_previous else path.name))
        elif keep_previous:
            lines += [(one, name) for one, name in _sums(path) if name == path.name + PREVIOUS]
        with atomic_write(path.with_name(path.name + SUMS)) as sums:
            sums.write_text("".join(f"{one}  {name}\n" for one, name in lines), encoding="utf-8")
        if good is not None and keep_previous:
            _keep(path, previous(path))


def whole(path: Path) -> bool:
    """Return whether a file is what was written; one without checksums is taken for it.

    The checksums of `<name>.previous` are those of `<name>`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.bin"
    >>> save_checked(path, lambda file: file.write(b"whole"))
    >>> before = whole(path)
    >>> _ = path.write_bytes(b"whale")
    >>> before, whole(path)
    (True, False)
    """
    return path.is_file() and _listed(path.with_name(path.name.removesuffix(PREVIOUS)), checksum(path))


def whole_version(path: Path) -> Path:
    """Return the file if it is whole, else the previous one if that is.

    Raises:
        DamagedFileError: neither is.
    """
    for one in (path, previous(path)):
        if whole(one):
            return one
    problem = "its checksum is wrong" if path.is_file() else "it is gone"
    raise DamagedFileError(path, f"{problem}, and there is no earlier one that is whole", "give another one")


def previous(path: Path) -> Path:
    """Return where the file that was replaced last is kept."""
    return path.with_name(path.name + PREVIOUS)


def remove_checked(path: Path) -> None:
    """Remove a file, its checksums and the previous one."""
    for one in (path, previous(path), path.with_name(path.name + SUMS)):
        one.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """Return a file's SHA-256 in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Summed(io.BytesIO):
    """A binary file to write to, whose content is summed; it keeps the first error for later.

    torch.save goes on in C++ after an error of the file that it writes to, and ends in another one.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self.file, self.digest = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, content: Buffer) -> int:
        """Hand on what is written."""
        self.digest.update(content)
        if self.error is None:
            try:
                self.file.write(content)
            except OSError as error:
                self.error = error
        return memoryview(content).nbytes

    def finish(self) -> None:
        """Raise the first error, if there was one."""
        if self.error is not None:
            raise self.error
        self.file.flush()


def _sums(path: Path) -> list[tuple[str, str]]:
    """Return checksums and names that stand beside a file."""
    try:
        lines = path.with_name(path.name + SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [(one, name) for one, _, name in (line.partition("  ") for line in lines)]


def _listed(path: Path, digest: str) -> bool:
    """Return whether a checksum stands beside a file, or none does."""
    sums = _sums(path)
    return not sums or digest in {one for one, _ in sums}


def _keep(path: Path, place: Path) -> None:
    """Keep a file in a second place too, by a link where the file system has links."""
    staged = path.with_name(f"{STAGED}link-{place.name}")
    staged.unlink(missing_ok=True)
    try:
        os.link(path, staged)
    except OSError:
        path.replace(place)
        return
    try:
        os.replace(staged, place)
    finally:
        with suppress(OSError):  # still there where both are links to one file
            staged.unlink(missing_ok=True)
