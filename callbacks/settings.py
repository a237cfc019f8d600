"""Checks of constructor arguments that several callbacks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from lpr_lightning.errors import SettingError

Stage = Literal["val", "test"]
"""Evaluation stages, named as in the logged figures."""


def checked_stages(stages: Sequence[str]) -> list[Stage]:
    """Return the stages as a list, in the order validation, test.

    >>> checked_stages(["test"])
    ['test']
    >>> checked_stages(["train"])
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.SettingError: stages=['train'] cannot be used: expected one or both of val, test.
    """
    allowed = get_args(Stage)
    if isinstance(stages, str) or not stages or any(stage not in allowed for stage in stages):
        raise SettingError("stages", stages, f"one or both of {', '.join(allowed)}")
    return [stage for stage in allowed if stage in stages]


def at_least(name: str, value: int, minimum: int) -> int:
    """Return a whole number that is not below `minimum`.

    >>> at_least("samples", 0, 1)
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.SettingError: samples=0 cannot be used: expected a whole number of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise SettingError(name, value, f"a whole number of at least {minimum}")
    return value
