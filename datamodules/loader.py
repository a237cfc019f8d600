"""Batches drawn by index from resident tensors: no worker processes, no collation, little padding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lpr_lightning.errors import checked
from lpr_lightning.protocols import Examples
from lpr_lightning.ranks import rank_and_world
from lpr_lightning.types import TensorData

MEGABATCH = 8
"""Training batches that are sorted by length together: less padding, and an order that is still random."""


class IndexedBatches:
    """A loader over `Examples`: seeded shuffle for each epoch, bucketed by length, each rank its own rows.

    Training (`shuffle=True`): every rank sees the same number of batches; where the last rows do not go round, the
    first ones are seen again. Otherwise every example is seen exactly once over all ranks, shortest first
    (`bucket=False`: in their own order).

    It is its own `sampler`, so that the Trainer can name the epoch, and it keeps its place: `state_dict` and
    `load_state_dict` let a run that was interrupted within an epoch go on at the next batch. Run the Trainer with
    `use_distributed_sampler=False`.

    >>> class Lengths:
    ...     sizes = torch.tensor([3, 1, 2])
    ...     def batch(self, index: Tensor) -> Tensor:
    ...         return self.sizes[index]
    >>> list(IndexedBatches(Lengths(), batch_size=2))
    [tensor([1, 2]), tensor([3])]
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        bucket: bool = True,
    ) -> None:
        checked("batch_size", batch_size, 1)
        self.examples = examples
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.bucket = bucket
        self.epoch = 0
        self._position = 0
        self._start = 0

    @property
    def sampler(self) -> IndexedBatches:
        """The loader itself: what the Trainer calls `set_epoch` on."""
        return self

    @property
    def batch_sampler(self) -> None:
        """There is none; the Trainer asks for it wherever there is a `sampler`."""
        return None

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle of the epoch that begins."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Return the place within the epoch."""
        return {"position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin the next pass where `state` was taken; a finished pass begins anew."""
        self._start = state["position"] if state["position"] < len(self) else 0

    def __len__(self) -> int:
        rank, world = rank_and_world()
        if self.shuffle:
            return -(-len(self.examples.sizes) // (self.batch_size * world))
        return len(self._cut(self._order()[rank::world], world))

    def __iter__(self) -> Iterator[TensorData]:
        batches = self.index_batches()
        start, self._start = self._start, 0
        for position, index in enumerate(batches[start:], start + 1):
            self._position = position
            yield self.examples.batch(index)

    def index_batches(self) -> list[Tensor]:
        """Return this rank's batches of the present epoch as positions among the examples."""
        rank, world = rank_and_world()
        if self.shuffle:
            return [whole[rank::world] for whole in self._shuffled(world)]
        return self._cut(self._order()[rank::world], world)

    def _shuffled(self, world: int) -> list[Tensor]:
        """Cut a random order into batches of all ranks together, alike in length, in random order."""
        sizes = self.examples.sizes
        whole = self.batch_size * world
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(sizes), generator=generator)
        if self.bucket:
            parts = [mega[sizes[mega].argsort(stable=True)] for mega in _pieces(order, whole * MEGABATCH)]
            batches = [batch for part in parts for batch in _pieces(part, whole)]
        else:
            batches = _pieces(order, whole)
        if batches and len(batches[-1]) % world:
            missing = world - len(batches[-1]) % world
            batches[-1] = torch.cat([batches[-1], order.repeat(missing)[:missing]])
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def _order(self) -> Tensor:
        sizes = self.examples.sizes
        return sizes.argsort(stable=True) if self.bucket else torch.arange(len(sizes))

    def _cut(self, rows: Tensor, world: int) -> list[Tensor]:
        """Cut one rank's rows so that ranks with one row less still have as many batches.

        A rank without any gets a batch without rows: it must take part in what all ranks put together.
        """
        most = -(-len(self.examples.sizes) // world)
        count = min(-(-most // self.batch_size), len(rows))
        if not count:
            return [rows] if most else []
        if world == 1:
            return _pieces(rows, self.batch_size)
        return [part for part in rows.tensor_split(count) if len(part)]


def _pieces(rows: Tensor, size: int) -> list[Tensor]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
