"""What all checks share: the error that names a broken rule, and comparisons of what a learner shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.types import PAD, Exercise, InteractionBatch, State

Move = Callable[[State, Exercise, Tensor], State]
"""What changes a learner's state: `practise` or `observe`."""
SEED = 20
ALONE = 8
"""Most learners that are also followed alone."""
TOLERANCE = 1e-4
"""Differences up to here are rounding."""


class BrokenRule(LPRError):
    """A class breaks one of the rules of a protocol.

    >>> raise BrokenRule("no state leak", "practise changed the state it was given", "return new tensors")
    Traceback (most recent call last):
        ...
    lpr_lightning.checks.rules.BrokenRule: the rule 'no state leak' is broken: practise changed the state it was given. To mend it: return new tensors.
    """  # noqa: E501

    def __init__(self, rule: str, found: str, advice: str) -> None:
        self.rule, self.found, self.advice = rule, found, advice
        super().__init__(f"the rule {rule!r} is broken: {found}. To mend it: {advice}.")


def need(rule: str, good: bool, found: str, advice: str) -> None:
    """Raise a `BrokenRule` unless `good`."""
    if not good:
        raise BrokenRule(rule, found, advice)


def need_probabilities(rule: str, name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    """Raise a `BrokenRule` unless `values` are of this shape and in [0, 1]."""
    need(rule, values.shape == shape, f"{name} gave {tuple(values.shape)}", f"return {shape} here")
    inside = bool(((values >= 0) & (values <= 1)).all())
    span = f"from {float(values.min()):.3g} to {float(values.max()):.3g}" if values.numel() else "empty"
    need(rule, inside, f"{name} gave numbers {span}", "return numbers in [0, 1]")


def need_rows(rule: str, name: str, state: State, rows: int) -> None:
    """Raise a `BrokenRule` unless every tensor of a state has this number of rows first."""
    for part in state:
        found = f"{name} gave a state of shape {tuple(part.shape)} for {rows} rows"
        need(rule, part.shape[:1] == (rows,), found, "put the rows on the first axis")


def need_two(name: str, count: int) -> None:
    """Raise a `SettingError` for fewer than two learners: company could not be told from being alone."""
    if count < 2:
        raise SettingError(name, f"{count} learners", "at least two learners", "eight of different histories are best")


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Return whether tensors are equal in every bit."""
    return len(one) == len(other) and all(torch.equal(first, second) for first, second in zip(one, other))


def close(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Return whether tensors are equal but for rounding."""
    return len(one) == len(other) and all(
        first.shape == second.shape and torch.allclose(first, second, rtol=0.0, atol=TOLERANCE)
        for first, second in zip(one, other)
    )


def copied(state: State) -> State:
    """Return a state that shares no memory with `state`."""
    return tuple(part.clone() for part in state)


def padded(history: InteractionBatch, concept: int = PAD, correct: float = 0.0) -> InteractionBatch:
    """Return histories with three more places, and `concept` and `correct` in every place outside the mask."""
    rows = len(history)
    mask = torch.cat([history.mask, history.mask.new_zeros(rows, 3)], 1)

    def fill(values: Tensor, value: float) -> Tensor:
        longer = torch.cat([values, values.new_full((rows, 3, *values.shape[2:]), value)], 1)
        return torch.where(mask.view(*mask.shape, *[1] * (longer.dim() - 2)), longer, value)

    return replace(
        history,
        concept=fill(history.concept, concept),
        item=fill(history.item, concept),
        correct=fill(history.correct, correct),
        mask=mask,
    )
