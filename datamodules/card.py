"""The data card: what a data set holds after reading, and what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from rich.table import Table

from lpr_lightning.types import Interactions, Split


@dataclass(frozen=True)
class DataCard:
    """Figures of a data set; print it with rich or as text.

    >>> log = Interactions.from_lists([[(0, 1), (1, 0)], [(1, 1)]])
    >>> card = DataCard.of("Toy", {"train": log}, 2, 2, {"rows read": 3}, "00ff")
    >>> str(card)[:60]
    'Toy: rows read 3; answers 3; learners 2 (train 2); items 2; '
    """

    name: str
    answers: int
    learners: int
    items: int
    concepts: int
    median_length: float
    max_length: int
    correct_rate: float
    fingerprint: str
    counts: dict[str, int] = field(default_factory=dict)
    splits: dict[Split, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        parts: Mapping[Split, Interactions],
        items: int,
        concepts: int,
        counts: dict[str, int],
        fingerprint: str,
    ) -> DataCard:
        """Take the figures of the logs of all splits together."""
        lengths = torch.cat([log.lengths for log in parts.values()])
        correct = torch.cat([log.correct for log in parts.values()])
        return cls(
            name=name,
            answers=len(correct),
            learners=len(lengths),
            items=items,
            concepts=concepts,
            median_length=float(lengths.median()) if len(lengths) else 0.0,
            max_length=int(lengths.max()) if len(lengths) else 0,
            correct_rate=float(correct.double().mean()) if len(correct) else 0.0,
            fingerprint=fingerprint,
            counts=counts,
            splits={split: log.num_learners for split, log in parts.items()},
        )

    def lines(self) -> list[tuple[str, str]]:
        """Return what is on the card, line by line."""
        parts = ", ".join(f"{name} {count:,}" for name, count in self.splits.items())
        return [
            *((reason, f"{count:,}") for reason, count in self.counts.items()),
            ("answers", f"{self.answers:,}"),
            ("learners", f"{self.learners:,} ({parts})"),
            ("items", f"{self.items:,}"),
            ("concepts", f"{self.concepts:,}"),
            ("answers of a learner", f"{self.median_length:.0f} (median), {self.max_length:,} (longest)"),
            ("correct", f"{self.correct_rate:.3f}"),
            ("hash", self.fingerprint),
        ]

    def __str__(self) -> str:
        return f"{self.name}: " + "; ".join(f"{name} {value}" for name, value in self.lines())

    def __rich__(self) -> Table:
        table = Table(title=self.name, show_header=False, title_justify="left")
        table.add_column()
        table.add_column(justify="right")
        for name, value in self.lines():
            table.add_row(name, value)
        return table
