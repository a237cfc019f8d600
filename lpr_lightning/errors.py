"""Errors that build their own message (what was got, what is allowed, what to do next), and checks that raise them."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

Size = TypeVar("Size", int, float)


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


class UnwritableFileError(LPRError, OSError):
    """A file could not be written whole; what was there before is as it was.

    >>> raise UnwritableFileError("logs/last.ckpt", "No space left on device")
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.UnwritableFileError: logs/last.ckpt could not be written: No space left on device. To mend \
it: make room or give a folder that can be written to; what was there before is as it was.
    """

    def __init__(self, file: str | Path, reason: object) -> None:
        self.file = str(file)
        words = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
        super().__init__(
            f"{file} could not be written: {words.rstrip('.')}. To mend it: make room or give a folder that can be "
            "written to; what was there before is as it was."
        )


class DamagedFileError(LPRError, RuntimeError):
    """A file is not what was written, and nothing earlier can stand in for it.

    >>> raise DamagedFileError("logs/last.ckpt", "its checksum is wrong", "give another --ckpt_path")
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.DamagedFileError: logs/last.ckpt is damaged: its checksum is wrong. To mend it: give another \
--ckpt_path.
    """

    def __init__(self, file: str | Path, problem: str, advice: str) -> None:
        self.file = str(file)
        super().__init__(f"{file} is damaged: {problem.rstrip('.')}. To mend it: {advice.rstrip('.')}.")


class NonFiniteError(LPRError, ArithmeticError):
    """Training met NaN or inf.

    >>> raise NonFiniteError("the loss", "nan", epoch=1, batch=3, step=7, advice="lower the learning rate")
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.NonFiniteError: the loss is nan at batch 3 of epoch 1 (step 7): training stopped. To mend it: \
lower the learning rate.
    """

    def __init__(self, what: str, value: str, epoch: int, batch: int, step: int, advice: str) -> None:
        self.what, self.epoch, self.batch, self.step = what, epoch, batch, step
        super().__init__(
            f"{what} is {value} at batch {batch} of epoch {epoch} (step {step}): training stopped. "
            f"To mend it: {advice.rstrip('.')}."
        )


class NonFiniteRewardError(LPRError, ArithmeticError):
    """An objective gave sampled paths a reward that is NaN or infinite.

    >>> raise NonFiniteRewardError("zpd", 3, 48)
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.NonFiniteRewardError: objective 'zpd' is NaN or infinite for 3 of 48 paths: training stopped. \
To mend it: look at what the objective divides by, or leave it out of model.objectives.
    """

    def __init__(self, objective: str, wrong: int, paths: int) -> None:
        self.objective, self.wrong, self.paths = objective, wrong, paths
        super().__init__(
            f"objective {objective!r} is NaN or infinite for {wrong} of {paths} paths: training stopped. To mend it: "
            "look at what the objective divides by, or leave it out of model.objectives."
        )


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


def checked(name: str, value: Size | None, least: Size, most: Size | None = None, advice: str = "") -> Size:
    """Return a number from `least` to below `most`.

    Raises:
        SettingError: it is another one, NaN or None.

    >>> checked("dropout", 1.0, 0.0, 1.0)
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.SettingError: dropout=1.0 cannot be used: expected a number from 0.0 to below 1.0.
    """
    if value is None or not value >= least or (most is not None and not value < most):
        kind = "a whole number" if isinstance(least, int) else "a number"
        bounds = f"of at least {least}" if most is None else f"from {least} to below {most}"
        if value is None and name.startswith("num_"):
            advice = "take it from the datamodule"
        raise SettingError(name, value, f"{kind} {bounds}", advice)
    return value


def checked_or_none(name: str, value: Size | None, least: Size, advice: str = "") -> Size | None:
    """Return a number of at least `least`, or None, which stands for no limit or a default."""
    return None if value is None else checked(name, value, least, advice=advice or "null is allowed too")


def checked_positive(name: str, value: float) -> float:
    """Return a number above 0."""
    if not value > 0:
        raise SettingError(name, value, "a number above 0")
    return value


def checked_share(name: str, value: float) -> float:
    """Return a number from 0 to 1."""
    if not 0 <= value <= 1:
        raise SettingError(name, value, "a number from 0 to 1")
    return value
