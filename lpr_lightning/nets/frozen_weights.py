"""The trained weights of a module as they were at one moment, to go back to for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class FrozenWeights(nn.Module):
    """A copy of a module's trained weights, in buffers, so that checkpoints hold it; the rest is not copied.

    >>> layer = nn.Linear(1, 1)
    >>> kept = FrozenWeights(layer)
    >>> before = layer.weight.item()
    >>> _ = nn.init.constant_(layer.weight, before + 1)
    >>> with kept.in_place(layer):
    ...     layer.weight.item() == before
    True
    >>> layer.weight.item() == before
    False
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        for number, weight in enumerate(_trained(module)):
            self.register_buffer(f"weight_{number}", weight.detach().clone())

    def take(self, module: nn.Module) -> None:
        """Copy the module's trained weights as they are now."""
        for kept, weight in zip(self.buffers(), _trained(module), strict=True):
            kept.copy_(weight.detach())

    @contextmanager
    def in_place(self, module: nn.Module) -> Iterator[None]:
        """Within the block, which has no gradients, let the module have the weights that were taken."""
        trained = _trained(module)
        with torch.no_grad():
            own = [weight.data for weight in trained]
            try:
                for weight, kept in zip(trained, self.buffers(), strict=True):
                    weight.data = kept
                yield
            finally:
                for weight, data in zip(trained, own, strict=True):
                    weight.data = data


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in module.parameters() if weight.requires_grad]
