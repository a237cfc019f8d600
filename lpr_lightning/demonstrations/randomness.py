"""Random numbers of plans and searches."""

from __future__ import annotations

import torch
from torch import Tensor


def generator_for(seed: int, row: Tensor) -> torch.Generator:
    """Return a generator that depends on `seed` and on the requests' rows [B] alone, on the rows' device.

    Batches of one split so draw different numbers, and the same batch draws the same ones again.

    >>> first, again, other = (generator_for(0, torch.tensor(row)) for row in ([0, 1], [0, 1], [2, 3]))
    >>> first.initial_seed() == again.initial_seed() != other.initial_seed()
    True
    """
    weight = torch.arange(1, row.shape[0] + 1, device=row.device)
    mixed = (seed * 1_000_003 + int(((row + 2) * weight).sum())) % 2**62
    return torch.Generator(row.device).manual_seed(mixed)
