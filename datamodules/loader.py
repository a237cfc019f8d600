"""Batches drawn by index from resident tensors: no worker processes, no collation, little padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked
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
    `load_state_dict` let a run that was interrupted within an epoch go on at the next example. A place is the examples
    that have been seen, whatever the batch size and the number of processes: with others the epoch's remaining examples
    are cut anew, each seen once. The Trainer must then count other batches as done, which the callback `ExactResume`
    tells it to; without it, and with other examples or another seed, going on within an epoch is an error. Run the
    Trainer with `use_distributed_sampler=False`.

    Args:
        examples: what is batched.
        batch_size: examples in a batch.
        shuffle: whether each epoch has an order of its own.
        seed: of the orders.
        bucket: put examples of like length together.
        pin: put batches into pinned memory, for a run on an accelerator.

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
        pin: bool = False,
    ) -> None:
        checked("batch_size", batch_size, 1)
        self.examples = examples
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.bucket = bucket
        self.pin = pin
        self.epoch = 0
        self._reached = _Place()
        self._resumed: _Place | None = None
        self._told = False

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

    def state_dict(self) -> dict[str, object]:
        """Return the place within the epoch: so many batches of so many examples, over all processes."""
        return asdict(self._reached)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next pass, if it is of the same epoch, where `state` was taken; a finished pass begins anew."""
        self._resumed, self._told = _Place(**state), False

    def resumed_batches(self, epoch: int) -> int:
        """Return how many batches, of the present size, of an epoch were seen before the resume.

        Whoever asks says that the Trainer counts them as done.

        Raises:
            SettingError: the place cannot be found, since the examples or the seed are others.
        """
        self.epoch, self._told = epoch, True
        cuts, before = self._begun()
        return len(self) - len(self._plan(cuts)) + before

    def __len__(self) -> int:
        rank, world = rank_and_world()
        if self.shuffle:
            return -(-len(self.examples.sizes) // (self.batch_size * world))
        return len(self._cut(self._order()[rank::world], world))

    def __iter__(self) -> Iterator[TensorData]:
        cuts, before = self._begun()
        self._resumed = None
        whole, examples = self._whole(), len(self.examples.sizes)
        for number, index in enumerate(self._plan(cuts)[before:], before + 1):
            self._reached = _Place(self.epoch, [*cuts, (whole, number)], examples, self.seed)
            batch = self.examples.batch(index)
            yield batch.pin_memory() if self.pin else batch

    def index_batches(self) -> list[Tensor]:
        """Return this rank's batches of the present epoch as positions among the examples."""
        return self._plan([])

    def _whole(self) -> int:
        """Return the number of examples in a batch over all ranks."""
        return self.batch_size * rank_and_world()[1]

    def _begun(self) -> tuple[list[tuple[int, int]], int]:
        """Return what was seen of the present epoch: in batches of other sizes, and how many of the present size."""
        at = self._resumed
        if at is None or at.epoch != self.epoch or not at.cuts:
            return [], 0
        examples, whole = len(self.examples.sizes), self._whole()
        same = (at.examples, at.seed) == (examples, self.seed)
        if not (len(self._rest(at.cuts)) if same and self.shuffle else at.roughly_left):
            return [], 0
        if not same:
            allowed = f"a seed of {at.seed} and {at.examples} training examples, as in the checkpoint"
            advice = "It stopped within an epoch; go on with the data that it was trained on, or start anew"
            raise SettingError("data", f"seed {self.seed}, {examples} training examples", allowed, advice)
        *cuts, (last, batches) = at.cuts
        if last == whole:
            return cuts, batches
        if not self.shuffle or not self._told:
            allowed = f"{last} over all processes, as in the checkpoint, which stopped within an epoch"
            advice = "The callback ExactResume lets a run go on with another one" if self.shuffle else ""
            raise SettingError("batch_size", whole, allowed, advice)
        return at.cuts, 0

    def _plan(self, cuts: list[tuple[int, int]]) -> list[Tensor]:
        """Return this rank's batches of the present epoch, without the examples seen in batches of other sizes."""
        rank, world = rank_and_world()
        if not self.shuffle:
            return self._cut(self._order()[rank::world], world)
        generator = self._generator()
        rows = self._rest(cuts, generator)
        return [whole[rank::world] for whole in self._batches(rows, self._whole(), world, generator)]

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)

    def _rest(self, cuts: list[tuple[int, int]], generator: torch.Generator | None = None) -> Tensor:
        """Return the examples of the present epoch that were not seen, in random order."""
        generator = generator or self._generator()
        rows = torch.randperm(len(self.examples.sizes), generator=generator)
        for whole, count in cuts:
            rest = self._batches(rows, whole, 1, generator)[count:]
            rows = torch.cat([rows[:0], *rest])
            rows = rows[torch.randperm(len(rows), generator=generator)]
        return rows

    def _batches(self, order: Tensor, whole: int, world: int, generator: torch.Generator) -> list[Tensor]:
        """Cut examples in random order into batches of all ranks together, alike in length, in random order."""
        sizes = self.examples.sizes
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


@dataclass(frozen=True)
class _Place:
    """What was seen of an epoch of so many examples: cuts of (examples in a batch over all processes, batches)."""

    epoch: int = 0
    cuts: list[tuple[int, int]] = field(default_factory=list)
    examples: int = 0
    seed: int = 0

    @property
    def roughly_left(self) -> int:
        """How many examples of the epoch are left; a batch that was not full counts as full."""
        return max(self.examples - sum(whole * count for whole, count in self.cuts), 0)


def _pieces(rows: Tensor, size: int) -> list[Tensor]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
