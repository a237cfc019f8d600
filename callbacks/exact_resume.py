"""A resumed run ends like one that was never interrupted: for any Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.fabric.utilities.types import _Stateful
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from lpr_lightning.bases.staged import run_seed
from lpr_lightning.callbacks.step_seed import StepSeed
from lpr_lightning.errors import SettingError

_COUNTS = ("ready", "started", "processed", "completed")


@runtime_checkable
class KeepsPlace(Protocol):
    """A loader that knows which examples of an epoch it has given, whatever the batch size."""

    def resumed_batches(self, epoch: int) -> int:
        """Return how many batches, of the present size, of an epoch were seen before the resume."""
        ...


class ExactResume(StepSeed):
    """Lets a run that was killed at any moment go on as if nothing had happened, from any checkpoint within an epoch.

    One line for any Trainer, whatever the module: `Trainer(callbacks=[ExactResume()])`. It is `StepSeed`, and beyond:

    - A checkpoint taken in the middle of a batch (Ctrl-C, an error) is one of the moment between batches: the batch
      that broke off is repeated, or, where the optimizer had stepped, not.
    - A plain `DataLoader` that shuffles gives each epoch's order by (seed, epoch), and after a resume within an epoch
      the batches that were seen are left out. (Lightning's own resume draws another order and gives the wrong rest.)
      Random numbers drawn by worker processes are seeded by epoch, and so repeat from the epoch's beginning only.
    - A loader of ours (`KeepsPlace`) goes on at the right example with another batch size or number of processes too.
    - A `ModelCheckpoint` whose folder was moved, or is mounted elsewhere, keeps its best score and best file.

    A run with gradient accumulation is exact from checkpoints between accumulations. Loaders with a `state_dict` of
    their own are restored by Lightning. The epoch's mean of a figure of training (`log(…, on_epoch=True)`) is that of
    the batches after the resume, since Lightning keeps it in no checkpoint.
    """

    def __init__(self) -> None:
        self._steps = 0

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Find the checkpoints of a folder that was moved."""
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint.get("callbacks", {}).get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state and callback.dirpath:
                follow_folder(state, Path(callback.dirpath), callback.mode)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Make it one of the moment between batches."""
        between_batches(trainer, checkpoint, stepped=trainer.global_step > self._steps)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go to the place within the epoch."""
        loop, loaders = trainer.fit_loop.epoch_loop, _loaders(trainer)
        within = trainer.fit_loop.restarting and not loop.batch_progress.is_last_batch
        seen: int = vars(loop.batch_progress.current)["processed"] if within else 0
        if seen and (kept := [one for one in loaders if isinstance(one, KeepsPlace)]):
            before = kept[0].resumed_batches(trainer.current_epoch)
            if before != seen and trainer.limit_train_batches not in (None, 1.0):
                allowed = "all batches, where a run goes on within an epoch with another batch size"
                raise SettingError("limit_train_batches", trainer.limit_train_batches, allowed)
            for count in _COUNTS:
                present = vars(loop.batch_progress.current)
                present[count] = max(present[count] + before - seen, 0)
            if before == 0:  # Lightning takes it for the end of a validation, and counts a step
                loop._batches_that_stepped -= 1
        if any(_is_plain(one) for one in loaders):
            self._seed_epoch(trainer)
            batches = iter(_fetcher(trainer)).iterator  # anew, since it was made before
            for _ in range(seen):
                next(batches)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the order of the epoch."""
        self._seed_epoch(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Seed the generators of all devices."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self._steps = trainer.global_step

    def _seed_epoch(self, trainer: Trainer) -> None:
        """Seed what plain loaders draw from: their samplers, and torch for the seeds of their workers."""
        seed = self.of(run_seed(), trainer.current_epoch, -1, 0)
        torch.manual_seed(self.of(run_seed(), trainer.current_epoch, -1, trainer.global_rank))
        for loader in _loaders(trainer):
            if isinstance(loader, DataLoader) and _is_plain(loader):
                for sampler in (loader.sampler, vars(loader.batch_sampler or object).get("sampler")):
                    if isinstance(sampler, RandomSampler | SubsetRandomSampler | WeightedRandomSampler):
                        sampler.generator = torch.Generator().manual_seed(seed)


def between_batches(trainer: Trainer, checkpoint: dict[str, Any], stepped: bool = False) -> None:
    """Change a checkpoint that was taken within a batch, or as an epoch begins, to the moment before or after it.

    Args:
        trainer: the trainer.
        checkpoint: the checkpoint, changed in place.
        stepped: whether the batch's optimizer step was taken.
    """
    fit: dict[str, Any] = checkpoint.get("loops", {}).get("fit_loop", {})
    if not fit:
        return
    batch, epoch = fit["epoch_loop.batch_progress"], fit["epoch_progress"]
    broken_off = batch["total"]["ready"] > batch["total"]["processed"]
    if broken_off and stepped:
        for counts in (batch["total"], batch["current"]):
            counts |= dict.fromkeys(_COUNTS[:3], counts["ready"]) | {"completed": counts["ready"] - 1}
    elif broken_off:
        for counts in (batch["total"], batch["current"]):
            counts |= dict.fromkeys(_COUNTS, counts["processed"])
        batch["is_last_batch"] = False
        for state in fit["state_dict"].get("combined_loader", []):
            _one_back(state)
        if batch["current"]["ready"] == 0:
            for counts in (epoch["total"], epoch["current"]):
                counts |= dict.fromkeys(_COUNTS, counts["processed"])
        elif _validated_before(trainer, batch):  # Lightning counts a step when it finds that out
            fit["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
    elif epoch["total"]["ready"] > epoch["total"]["started"]:
        for counts in (epoch["total"], epoch["current"]):
            counts["ready"] = counts["started"]


def follow_folder(state: dict[str, Any], folder: Path, mode: str) -> None:
    """Change the state of a ModelCheckpoint to where its files are now; those that are nowhere are forgotten.

    Args:
        state: the state, changed in place.
        folder: where it saves to.
        mode: whether smaller (`min`) or larger (`max`) figures are better.
    """

    def now(path: str) -> str:
        here = folder / Path(path).name
        return str(here) if path and here.exists() else path

    moved = state.get("dirpath") != str(folder)
    scores: Mapping[str, Any] = state.get("best_k_models") or {}
    found = {now(path): score for path, score in scores.items() if Path(now(path)).exists()}
    if moved and (scores and not any(Path(path).parent == folder for path in found)):
        return  # a new run, which begins with files of its own
    state["dirpath"] = str(folder)
    for name in ("best_model_path", "last_model_path", "kth_best_model_path"):
        state[name] = now(state.get(name) or "")
    if scores and found.keys() != scores.keys():
        state["best_k_models"] = found
        best, worst = (min, max) if mode == "min" else (max, min)
        state["best_model_path"] = best(found, key=lambda path: found[path], default="")
        state["kth_best_model_path"] = worst(found, key=lambda path: found[path], default="")
        state["best_model_score"] = found.get(state["best_model_path"])


def can_go_back(trainer: Trainer) -> bool:
    """Return whether every training loader can be set back by the batch that it gave last."""
    return all(isinstance(one, KeepsPlace) or not isinstance(one, _Stateful) for one in _loaders(trainer))


def _one_back(state: object) -> None:
    """Take the last batch out of the place of a loader of ours."""
    if isinstance(state, dict) and isinstance(cuts := state.get("cuts"), list) and cuts:
        *earlier, (whole, batches) = cuts
        state["cuts"] = [*earlier, (whole, batches - 1)] if batches > 1 else earlier


def _validated_before(trainer: Trainer, batch: Mapping[str, Any]) -> bool:
    """Return whether a validation came just before the batch that begins."""
    every, anywhere = trainer.val_check_batch, trainer.check_val_every_n_epoch is None
    if not isinstance(every, int) or not trainer.fit_loop.epoch_loop._should_check_val_epoch():
        return False
    count: int = batch["total" if anywhere else "current"]["ready"]
    return count % every == 0


def _loaders(trainer: Trainer) -> list[object]:
    combined = trainer.fit_loop._combined_loader
    return list(combined.flattened) if isinstance(combined, CombinedLoader) else []


def _is_plain(loader: object) -> bool:
    """Return whether a loader is torch's, without a place of its own."""
    return isinstance(loader, DataLoader) and not isinstance(loader, _Stateful)


def _fetcher(trainer: Trainer) -> Any:
    return trainer.fit_loop._data_fetcher
