"""Random numbers as arguments: each row's own, whatever the batch, the device and the number of processes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_STEP = -7046029254386353131  # 0x9E3779B97F4A7C15, the increment of splitmix64
_FIRST, _SECOND = -4658895280553007687, -7723592293110705685  # its two multipliers


def _mixed(value: Tensor) -> Tensor:
    """Return splitmix64's hash of int64 numbers; sums and products wrap around."""
    value = value + _STEP
    for places, factor in ((30, _FIRST), (27, _SECOND)):
        value.bitwise_xor_(_shifted(value, places)).mul_(factor)
    return value.bitwise_xor_(_shifted(value, 31))


def _shifted(value: Tensor, places: int) -> Tensor:
    """Return a logical right shift of int64 numbers."""
    return value.bitwise_right_shift(places).bitwise_and_((1 << (64 - places)) - 1)


@dataclass(frozen=True)
class Draws:
    """Counter-based random numbers (splitmix64) of B rows: a function of (seed, step, row, stream, place) alone.

    Nothing is remembered: the same call gives the same numbers. `at` gives another stream, `fork` several rows for
    each. A number does not depend on the other rows of a batch, nor on how far a tensor reaches beyond its place, so
    that batches of any composition and processes of any number draw the same. Uniform numbers are equal on every
    device, normal ones to rounding.

    Args:
        key: one hash for each row, [B] int64; `Draws.of` makes it.

    >>> draws = Draws.of(seed=0, step=3, rows=torch.tensor([5, 7]))
    >>> draws.uniform(2).shape, torch.equal(draws.uniform(3)[:, :2], draws.uniform(2))
    (torch.Size([2, 2]), True)
    >>> torch.equal(Draws.of(0, 3, torch.tensor([7])).uniform(), draws.uniform()[1:])
    True
    """

    key: Tensor

    @classmethod
    def of(cls, seed: int, step: int, rows: Tensor) -> Draws:
        """Return the draws of one step of a run; `rows` [B] int64 say which rows they are."""
        start = _mixed(_mixed(torch.full_like(rows, seed)) ^ step)
        return cls(_mixed(start ^ rows))

    def __len__(self) -> int:
        return len(self.key)

    def at(self, stream: int) -> Draws:
        """Return other draws of the same rows, such as those of one step of an episode."""
        return Draws(_mixed(self.key ^ (stream + 1)))

    def fork(self, count: int) -> Draws:
        """Return draws of `count` rows for each row, side by side.

        >>> Draws.of(0, 0, torch.arange(2)).fork(3).uniform().shape
        torch.Size([6])
        """
        return Draws(self._places((count,)).flatten())

    def select(self, index: Tensor) -> Draws:
        """Return the draws of the rows at `index`."""
        return Draws(self.key[index])

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers in [0, 1), [B, *shape] float32; all multiples of 2^-24 are equally likely."""
        return _shifted(self._places(shape), 40).float().mul_(2.0**-24)

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers [B, *shape] float32 (Box and Muller)."""
        places = self._places(shape)
        radius = (_shifted(places, 40).float() + 1) * 2.0**-24  # in (0, 1]
        angle = ((places >> 8) & (2**24 - 1)).float() * (2 * math.pi * 2.0**-24)
        return (-2 * radius.log()).sqrt() * angle.cos()

    def integers(self, high: int | Tensor, *shape: int) -> Tensor:
        """Return whole numbers from 0 to below `high`, [B, *shape] int64; a tensor broadcasts against that."""
        top = high - 1
        drawn = (self.uniform(*shape).double() * high).long()
        return drawn.clamp_max(top) if isinstance(top, int) else drawn.minimum(top)

    def pick(self, probability: Tensor) -> Tensor:
        """Return one place for each row, [B] int64, drawn in proportion to `probability` [B, A] (need not sum to 1).

        >>> Draws.of(0, 0, torch.arange(3)).pick(torch.eye(3))
        tensor([0, 1, 2])
        """
        reached = probability.cumsum(1)
        point = self.uniform()[:, None] * reached[:, -1:]
        place = (reached <= point).sum(1, keepdim=True)
        last = (probability > 0).long().mul(torch.arange(1, probability.shape[1] + 1, device=place.device)).amax(1) - 1
        return place.squeeze(1).minimum(last.clamp_min(0))

    def _places(self, shape: tuple[int, ...]) -> Tensor:
        """Return one hash for each place, [B, *shape] int64, axis after axis."""
        key = self.key if shape else _mixed(self.key)
        for size in shape:
            key = _mixed(key[..., None] ^ torch.arange(1, size + 1, device=key.device).mul_(_FIRST))
        return key


def drawn_answers(probability: Tensor, draws: Draws | None) -> Tensor:
    """Return answers of 1 with these probabilities [B, ...], else 0; the likeliest without draws.

    >>> drawn_answers(torch.tensor([0.4, 0.6]), None)
    tensor([0., 1.])
    """
    chance = 0.5 if draws is None else draws.uniform(*probability.shape[1:])
    return (probability > chance).to(probability)
