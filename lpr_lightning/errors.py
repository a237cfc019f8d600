"""Exceptions that build their own message: what was got, what is allowed, what to do next."""

from __future__ import annotations

from pathlib import Path


class LPRError(Exception):
    """Base class of every error that lpr_lightning raises on purpose."""


class SettingError(LPRError, ValueError):
    """A constructor argument or option has a value that cannot work.

    >>> raise SettingError("kappa", -1.0, "a number above 0", "0.05 is a good start")
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.SettingError: kappa=-1.0 cannot be used: expected a number above 0. 0.05 is a good start.
    """

    def __init__(self, name: str, got: object, allowed: str, advice: str = "") -> None:
        self.name, self.got, self.allowed = name, got, allowed
        tail = f" {advice.rstrip('.')}." if advice else ""
        super().__init__(f"{name}={got!r} cannot be used: expected {allowed.rstrip('.')}.{tail}")


class MissingFileError(LPRError, FileNotFoundError):
    """A file of a data set is not where it was looked for.

    >>> raise MissingFileError("log.csv", "data", "download it")
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.MissingFileError: log.csv was not found in data. To mend it: download it.
    """

    def __init__(self, name: str, folder: str | Path, advice: str) -> None:
        self.name, self.folder = name, str(folder)
        super().__init__(f"{name} was not found in {folder}. To mend it: {advice.rstrip('.')}.")


class DataError(LPRError, ValueError):
    """A file of a data set holds something that cannot be an answer log.

    >>> raise DataError("log.csv", "expected 0 or 1, got 'maybe'", row=7, column="correct")
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.DataError: log.csv, row 7, column 'correct': expected 0 or 1, got 'maybe'.
    """

    def __init__(self, file: str | Path, problem: str, row: int | None = None, column: str | None = None) -> None:
        self.file, self.problem, self.row, self.column = str(file), problem, row, column
        place = str(file) + (f", row {row}" if row is not None else "") + (f", column {column!r}" if column else "")
        super().__init__(f"{place}: {problem.rstrip('.')}.")


class UntrainedModelError(LPRError, RuntimeError):
    """A model with random weights was asked for results.

    >>> str(UntrainedModelError("test")).split(":")[0]
    'test needs a trained model'
    """

    def __init__(self, subcommand: str) -> None:
        super().__init__(
            f"{subcommand} needs a trained model: give --ckpt_path FILE (or last), "
            "or --allow_untrained to go on with random weights."
        )
