"""What the texts of cells mean, the same in every reader: missing values, ids, whole numbers, lists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from decimal import Decimal

MISSING = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "nat", "none", "null", "\\n"})
"""Texts that stand for no value, in small letters: what R, pandas, spreadsheets and databases write."""
_INTEGER = re.compile(r"[+-]?\d+(\.0*)?")
_WHOLE = re.compile(r"(-?\d+)\.0+", re.ASCII)
_POWER = re.compile(r"-?\d(\.\d+)?[eE]\+\d\d", re.ASCII)


def is_missing(text: str, words: Iterable[str] = MISSING) -> bool:
    """Return whether a cell holds no value.

    >>> is_missing(" NaN "), is_missing("0")
    (True, False)
    """
    return text.strip().lower() in words


def canonical_id(text: str) -> str:
    """Return an id without the spaces, the `.0` and the `e+05` that tables grow on their way; "" where it is missing.

    >>> canonical_id(" 12.0 "), canonical_id("1e+05"), canonical_id("x.0"), canonical_id("007"), canonical_id("NA")
    ('12', '100000', 'x.0', '007', '')
    """
    return "" if is_missing(text) else plain_id(text)


def plain_id(text: str) -> str:
    """Return the same as `canonical_id`, but take every text for an id."""
    text = text.strip()
    if found := _WHOLE.fullmatch(text):
        return found[1]
    if _POWER.fullmatch(text) and (value := Decimal(text)) == value.to_integral_value():
        return str(int(value))
    return text


def whole_number(text: str) -> int | None:
    """Return the whole number that `text` is, else None.

    >>> whole_number("12.0"), whole_number("x"), whole_number("1.5")
    (12, None, None)
    """
    if not text.isascii() or not _INTEGER.fullmatch(text):
        return None
    value = int(text.partition(".")[0])
    return value if abs(value) < 10**18 else None


def quoted(text: str) -> str:
    """Return `text` in quotes, its end left out where it is long.

    >>> quoted("maybe"), len(quoted("x" * 1000))
    ("'maybe'", 63)
    """
    return repr(text if len(text) <= 60 else text[:60] + "…")


def listed(text: str) -> list[str] | None:
    """Return the parts of a cell that is a list of numbers or quoted texts in brackets, else None.

    >>> listed("[3, 71]"), listed("['a', 'b']"), listed("[draft]")
    (['3', '71'], ['a', 'b'], None)
    """
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        parts = ast.literal_eval(text.replace("null", "None").replace("NaN", "None"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(parts, list) or not all(isinstance(one, str | int | float | None) for one in parts):
        return None
    return ["" if one is None else str(one) for one in parts]
