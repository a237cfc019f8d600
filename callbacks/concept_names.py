"""Readable names of concepts."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import Trainer


def concept_names(trainer: Trainer) -> Sequence[str]:
    """Return the datamodule's `concept_names`, or nothing where it has none."""
    names = getattr(getattr(trainer, "datamodule", None), "concept_names", None)
    return list(names) if names is not None else []


def name_of(concept: int, names: Sequence[str]) -> str:
    """Return the name of one concept.

    >>> name_of(1, ["Addition", "Fractions"]), name_of(7, [])
    ('Fractions', 'concept 7')
    """
    return names[concept] if 0 <= concept < len(names) else f"concept {concept}"


def short_name_of(concept: int, names: Sequence[str], width: int) -> str:
    """Return the name of one concept on one line of at most `width` characters.

    >>> short_name_of(0, ["Addition and Subtraction Fractions"], 20)
    'Addition and Subtra…'
    """
    name = " ".join(name_of(concept, names).split())
    return name if len(name) <= width else name[: width - 1].rstrip() + "…"
