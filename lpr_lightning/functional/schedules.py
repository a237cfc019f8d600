"""Numbers that change while an agent learns."""

from __future__ import annotations

from dataclasses import dataclass

from lpr_lightning.errors import checked


@dataclass(frozen=True)
class LinearSchedule:
    """A number that goes from `start` to `end` in so many batches, then stays: an exploration rate, an exponent.

    Args:
        start: at the first batch.
        end: from batch `batches` on.
        batches: how long it takes, at least 1.

    Raises:
        SettingError: `batches` is below 1.

    >>> exploration = LinearSchedule(1.0, 0.0, 10)
    >>> exploration(0), exploration(5), exploration(20)
    (1.0, 0.5, 0.0)
    """

    start: float
    end: float
    batches: int = 1

    def __post_init__(self) -> None:
        checked("batches", self.batches, 1)

    def __call__(self, batch: int) -> float:
        """Return the number after so many batches."""
        share = min(batch / self.batches, 1.0)
        return self.start + (self.end - self.start) * share
