"""Target networks: copies that follow what is trained."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


def target_of(net: Net) -> Net:
    """Return a copy that no optimizer trains."""
    return copy.deepcopy(net).requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, net: nn.Module, rate: float = 1.0) -> None:
    """Move a target towards its network: w' += rate (w - w') (Polyak), a copy at rate 1.

    >>> net = nn.Linear(1, 1)
    >>> target = target_of(net)
    >>> _ = net.weight.data.add_(1.0)
    >>> follow(target, net, 0.5)
    >>> torch.allclose(net.weight - target.weight, torch.tensor(0.5))
    True
    """
    follower: list[torch.Tensor] = list(target.parameters())
    leader: list[torch.Tensor] = list(net.parameters())
    if rate >= 1:
        torch._foreach_copy_(follower, leader)
    else:
        torch._foreach_lerp_(follower, leader, rate)
