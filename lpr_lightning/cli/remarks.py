"""Remarks of libraries that nobody can act on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def fewer_remarks() -> Iterator[None]:
    """Leave out remarks that nobody can act on, while it is entered."""
    said: set[str] = set()
    others = tuple(f"[rank: {number}" for number in range(1, 10))

    def wanted(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        again = "Seed set to" in message and (message in said or message.startswith(others))
        said.add(message)
        return not again and not any(word in message for word in ("litlogger", "litmodels"))

    logs = [logging.getLogger(f"lightning.{name}") for name in ("pytorch.utilities.rank_zero", "fabric.utilities.seed")]
    for log in logs:
        log.addFilter(wanted)
    try:
        with warnings.catch_warnings():
            for message in (
                ".*exists and is not empty.*",
                ".*LeafSpec.*",
                ".*does not have many workers.*",
                ".*callbacks used to create.*",
                ".*dirpath has changed.*",
                r".*module\(s\) in eval mode.*",
            ):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for log in logs:
            log.removeFilter(wanted)
