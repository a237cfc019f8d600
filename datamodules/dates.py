"""Dates as tables write them: ISO 8601, year first, or day and month first with the year behind."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lpr_lightning.datamodules.table import Array

_ZONE = re.compile(r"\s*\b(UTC|GMT)$", re.IGNORECASE)
_DATE = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?:[T ,]+(\S.*))?", re.ASCII)
_CLOCK = re.compile(
    r"(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?(?: ?([ap])\.?m\.?)?((?:Z| ?[+-]\d{2}:?\d{2})?)", re.I | re.A
)
MONTH_FIRST, DAY_FIRST = "month first", "day first"


@dataclass(frozen=True)
class Dates:
    """Dates read from texts: [R] int64 microseconds, which of them were none, and how day and month were told apart.

    `assumed` is `month first` or `day first` where nothing in the texts says so, else "".
    """

    microseconds: Array
    bad: Array
    assumed: str = ""


def read_dates(texts: Sequence[str], day_first: bool | None = None) -> Dates:
    """Read dates; those without a zone are taken for UTC.

    `9/10/2011 1:05` is the 10th of September unless a first number above 12 elsewhere, or `day_first`, says otherwise;
    where points stand between, the day comes first.

    >>> read_dates(["2018-09-01 00:15:00 UTC", "1.9.2018 0:15", "1.9.2018 12:15 AM"]).microseconds.tolist()
    [1535760900000000, 1535760900000000, 1535760900000000]
    >>> read_dates(["9/10/2011"]).assumed, read_dates(["9/10/2011", "13/10/2011"]).assumed
    ('month first', '')
    """
    plain = pd.Series([_ZONE.sub("", text.strip()) for text in texts], dtype=object)
    found = _iso(plain)
    places = [(int(place), _DATE.fullmatch(plain[place])) for place in np.flatnonzero(found.isna())]
    parts = [(place, match) for place, match in places if match is not None]
    behind = [match for _, match in parts if len(match[1]) <= 2]
    first, second = (max((int(match[k]) for match in behind), default=0) for k in (1, 3))
    points = any(match[2] == "." for match in behind)
    day = day_first if day_first is not None else (first > 12 or (points and second <= 12))
    if parts:
        rewritten = pd.Series([_as_iso(match, day) for _, match in parts], dtype=object)
        found[[place for place, _ in parts]] = _iso(rewritten).to_numpy()
    told = not behind or day_first is not None or points or max(first, second) > 12
    bad = found.isna().to_numpy()
    values = found.dt.as_unit("us").astype(np.int64).to_numpy()
    return Dates(values, bad, "" if told else DAY_FIRST if day else MONTH_FIRST)


def _iso(texts: pd.Series[str]) -> pd.Series[pd.Timestamp]:
    return pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)


def _as_iso(match: re.Match[str], day_first: bool) -> str | None:
    """Return a date in ISO 8601; None where it is none."""
    if len(match[1]) == 4 and len(match[4]) <= 2:
        year, month, day = match[1], match[3], match[4]
    elif len(match[4]) == 4 and len(match[1]) <= 2:
        year = match[4]
        day, month = (match[1], match[3]) if day_first else (match[3], match[1])
    else:
        return None
    date = f"{year}-{int(month):02}-{int(day):02}"
    if match[5] is None:
        return date
    clock = _CLOCK.fullmatch(match[5].strip())
    if clock is None or (clock[4] and int(clock[1]) > 12):
        return None
    hour = int(clock[1])
    if clock[4]:
        hour = hour % 12 + 12 * (clock[4].lower() == "p")
    return f"{date}T{hour:02}:{clock[2]}:{clock[3] or '00'}{clock[5].strip()}"
