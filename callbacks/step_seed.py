"""Torch's random numbers at each training batch, so that dropout is the same after a resume."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lpr_lightning.bases.staged import run_seed
from lpr_lightning.draws import Draws


class StepSeed(Callback):
    """Seeds torch before each training batch by the run's seed, the epoch, the batch's number in it, and the rank.

    Dropout draws from torch's global generator, whose place no checkpoint holds: without this, a run that was resumed
    draws other numbers than one that was never interrupted. One line for any Trainer, whatever the module:
    `Trainer(callbacks=[StepSeed()])`. The seed is that of `seed_everything`, else 0.

    The epoch and the batch's number are counted again where an interrupted batch is repeated; the trainer's total of
    batches is not, since it counts that batch twice.

    >>> StepSeed.of(seed=0, epoch=0, batch=1, rank=0) == StepSeed.of(seed=0, epoch=1, batch=0, rank=0)
    False
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Seed the generators of all devices."""
        torch.manual_seed(self.of(run_seed(), trainer.current_epoch, batch_idx, trainer.global_rank))

    @staticmethod
    def of(seed: int, epoch: int, batch: int, rank: int) -> int:
        """Return the seed of one batch on one rank, a hash."""
        return int(Draws.of(seed, epoch, torch.tensor([batch])).at(rank).key)
