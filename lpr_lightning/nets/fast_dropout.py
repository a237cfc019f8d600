"""Dropout that does not wait for random numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 2**16
"""Rates of dropout are whole multiples of one in so many."""
_PIECE = 2**16  # numbers treated at a time: they stay in the cache


class FastDropout(nn.Dropout):
    """`nn.Dropout` that draws 16 random bits an element on the CPU, about three times as fast there.

    Differs from `nn.Dropout` on the CPU: the rate is rounded to 1 / 65,536, and the random numbers are other ones
    (still those of `torch.manual_seed`).

    >>> dropout = FastDropout(0.5)
    >>> sorted(set(dropout(torch.ones(64)).tolist()))
    [0.0, 2.0]
    >>> bool((dropout.eval()(torch.ones(64)) == 1).all())
    True
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` with a share of its elements set to zero and the others grown in turn, while training."""
        dropped = round(self.p * LEVELS)
        if not self.training or input.device.type != "cpu" or not 0 < dropped < LEVELS:
            return super().forward(input)
        return input * _kept(input, dropped)


def random_bits(shape: torch.Size) -> Tensor:
    """Return whole numbers from -32,768 to 32,767, drawn four at a time; those below d - 32,768 are d in 65,536.

    >>> random_bits(torch.Size([2, 3])).dtype
    torch.int16
    """
    drawn = torch.empty(-(-shape.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    return drawn.view(torch.int16)[: shape.numel()].view(shape)


@torch.no_grad()
def _kept(like: Tensor, dropped: int) -> Tensor:
    """Return zero where an element is dropped, else the factor it grows by."""
    kept = torch.empty(like.shape, dtype=like.dtype)
    for piece in torch.split(kept.view(-1), _PIECE):
        torch.ge(random_bits(piece.shape), dropped - LEVELS // 2, out=piece).mul_(LEVELS / (LEVELS - dropped))
    return kept
