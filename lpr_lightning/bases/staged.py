"""Trainings in stages: what is trained when, how fast, and until when."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import ORIGIN, PlainLoading, class_path
from lpr_lightning.protocols import LearnerData
from lpr_lightning.types import TensorData

Figures = Mapping[str, Tensor]
Outputs = dict[str, TensorData | Tensor]


@dataclass(frozen=True)
class Stage:
    """One stage of a training.

    Args:
        name: shown by the progress bar.
        step: the training step, called with the batch and its number in the epoch.
        rates: learning rate of each part that the stage trains, by the `name` of the optimizer's parameter group;
            groups that are not named rest. Empty: the optimizer's own rates stay.
        epochs: how many; None for what the trainer's `max_epochs` leaves after the other stages.
        schedule: factor of the rates, from the share of the stage that is done and the batches that were.
        select: what to maximise, from the figures of a validation; needed for `patience` and `val/selection`.
        patience: validations without growth of `select` after which the stage ends; None waits for none.
        begin: called once when the stage begins, on the trainer's device, on every rank.
        improved: called after each validation whose `select` is the best of the stage so far.

    Raises:
        SettingError: `epochs` or `patience` is below 1, or there is `patience` without `select`.
    """

    name: str
    step: Callable[..., Tensor | Outputs | None]
    rates: Mapping[str, float] = field(default_factory=dict)
    epochs: int | None = None
    schedule: Callable[[float, int], float] | None = None
    select: Callable[[Figures], Tensor] | None = None
    patience: int | None = None
    begin: Callable[[], None] | None = None
    improved: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        for name, value in (("epochs", self.epochs), ("patience", self.patience)):
            if value is not None and value < 1:
                raise SettingError(name, value, "a whole number above 0, or None", f"leave out a stage of {name}=0")
        if self.patience is not None and self.select is None:
            raise SettingError("select", None, "a function of the figures", "patience waits for it to grow")


class Staged(PlainLoading, LightningModule):
    """A LightningModule that is trained in one or several stages, which resume where they were.

    A subclass returns its stages from `stages()`. Which one it is, since when, its best figure and the validations
    since then are buffers. Where there are several, a table of them is printed when the fit starts, and `val/selection`
    is logged for choosing a checkpoint: larger in each later stage than in any earlier one; in a stage before the last
    it only grows, so that nothing outside stops that stage or keeps its result.

    Raises:
        SettingError: (when the fit starts) a stage can never begin, or never end.
    """

    stage_state: Tensor
    stage_best: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("stage_state", torch.tensor([-1, 0, 0]))  # number, first epoch, validations waited
        self.register_buffer("stage_best", torch.tensor(-math.inf))
        self._stages: Sequence[Stage] = ()

    def stages(self) -> Sequence[Stage]:
        """Return the stages in order; asked for once a fit."""
        raise NotImplementedError

    @property
    def stage_number(self) -> int:
        """Number of the present stage; -1 before any."""
        return int(self.stage_state[0])

    @property
    def stage(self) -> Stage:
        """The present stage."""
        self._stages = self._stages or self.stages()
        return self._stages[max(self.stage_number, 0)]

    @property
    def stage_name(self) -> str:
        """Name of the present stage, for the progress bar."""
        return self.stage.name

    def check_stages(self, max_epochs: int | None) -> None:
        """Refuse a number of epochs within which a stage can never begin, or never end."""
        _spans(self.stages(), max_epochs)

    def on_fit_start(self) -> None:
        """Check that every stage can begin; print the table of stages."""
        self._stages = self.stages()
        if fast_dev_run(self.trainer):  # one epoch, of the first stage
            return
        spans = _spans(self._stages, self.trainer.max_epochs)
        if len(self._stages) > 1 and self.stage_number < 0:
            _show(self._stages, spans)

    def on_train_start(self) -> None:
        """End at once where the last stage was over already."""
        self._stop_when_over(self.current_epoch)

    def prepare(self) -> None:
        """Make what every stage needs; called once before the first stage, on the trainer's device, on every rank."""

    def on_train_epoch_start(self) -> None:
        """Begin the next stage when it is time."""
        self._begin()

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Set the learning rates; begin a stage where the start of the epoch was left out."""
        if batch_idx == 0:  # by a resume from a checkpoint of the last batch of an epoch
            self._begin()
        if not self.stage.rates:
            return
        batches = float(self.trainer.num_training_batches)
        first = int(self.stage_state[1])
        done = self.current_epoch - first + batch_idx / max(batches, 1)
        share = done / span if (span := self._span()) else 0.0
        schedule = self.stage.schedule
        factor = 1.0 if schedule is None else schedule(min(share, 1.0), round(done * batches))
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = factor * self.stage.rates.get(group["name"], 0.0)

    def training_step(self, batch: object, batch_idx: int) -> Tensor | Outputs | None:
        """Do what the present stage does."""
        return self.stage.step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        """End training when the last stage has had its epochs."""
        self._stop_when_over(self.current_epoch + 1)

    def validated(self, figures: Figures) -> None:
        """Take the figures of a validation of a fit: keep count of patience, log `val/selection`."""
        select = self.stage.select
        fitting = self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking
        if not fitting or select is None or self.stage_number < 0:
            return
        value = select(figures).detach().to(self.stage_best)
        if bool(value > self.stage_best):
            self.stage_best.copy_(value)
            self.stage_state[2] = 0
            if self.stage.improved is not None:
                self.stage.improved()
        else:
            self.stage_state[2] += 1
        if len(self._stages) > 1:
            last = self.stage_number == len(self._stages) - 1
            grown = 1 - 1 / (self.current_epoch - int(self.stage_state[1]) + 2)
            within = 0.5 + value.atan() / math.pi if last else torch.full_like(value, grown)
            self.log("val/selection", self.stage_number + within, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Name the class, so that the checkpoint can be loaded by itself (`hparams.load_module`)."""
        known = checkpoint.get(ORIGIN)  # a callback's, which also names the data
        checkpoint[ORIGIN] = {**(known if isinstance(known, dict) else {}), "model": class_path(type(self))}

    def data(self) -> LearnerData:
        """Return the trainer's datamodule.

        Raises:
            SettingError: there is none, or it is not one of learners.
        """
        data = datamodule_of(self.trainer)
        if isinstance(data, LearnerData):
            return data
        advice = "use trainer.fit(module, datamodule=...), or call connect(data) before"
        raise SettingError("datamodule", type(data).__name__, "a datamodule of lpr_lightning", advice)

    def descend(self, loss: Tensor, max_norm: float | None = None) -> None:
        """Take one gradient step of the (only) optimizer, in manual optimisation; `count_step` counts the batch."""
        optimizer = self._optimizer()
        optimizer.zero_grad()
        self.manual_backward(loss)
        if max_norm is not None:
            self.clip_gradients(optimizer.optimizer, max_norm, "norm")
        optimizer.optimizer.step()

    def count_step(self) -> None:
        """Count one batch in `trainer.global_step`, however many gradient steps it took (Lightning issue 17958)."""
        optimizers = self.optimizers()
        optimizer = optimizers[0] if isinstance(optimizers, list) else self._optimizer()
        optimizer._on_before_step()
        optimizer._on_after_step()

    def _begin(self) -> None:
        if self.stage_number < 0:
            self.prepare()
        while self._over(self.current_epoch) and self.stage_number < len(self._stages) - 1:
            self.stage_state.copy_(torch.tensor([self.stage_number + 1, self.current_epoch, 0]))
            self.stage_best.fill_(-math.inf)
            if self.stage.begin is not None:
                self.stage.begin()

    def _optimizer(self) -> LightningOptimizer:
        optimizer = self.optimizers()
        if not isinstance(optimizer, LightningOptimizer):
            raise SettingError("optimizers", type(optimizer).__name__, "one optimizer")
        return optimizer

    def _span(self) -> float:
        """Return how many epochs the present stage takes at most; 0 where that is unknown."""
        first, last = int(self.stage_state[1]), self.trainer.max_epochs
        if self.stage.epochs is not None:
            return self.stage.epochs
        later = sum(stage.epochs or 0 for stage in self._stages[self.stage_number + 1 :])
        return max(last - first - later, 1) if last is not None and last > 0 else 0

    def _over(self, epoch: int) -> bool:
        if self.stage_number < 0:
            return True
        waited, patience = int(self.stage_state[2]), self.stage.patience
        if patience is not None and waited >= patience:
            return True
        span = self._span()
        return span > 0 and epoch - int(self.stage_state[1]) >= span

    def _stop_when_over(self, epoch: int) -> None:
        last = self.stage_number == len(self._stages) - 1
        if last and self._over(epoch):
            self.trainer.should_stop = True


def datamodule_of(trainer: Trainer) -> object:
    """Return the trainer's datamodule, None where it has none."""
    return vars(trainer).get("datamodule")


@runtime_checkable
class HasTasks(Protocol):
    """A datamodule with more than one task."""

    tested: str
    """Name of the task whose test this is; empty for the first."""


def figures_name(trainer: Trainer, stage: str) -> str:
    """Return what the figures of a stage begin with: `val`, `test`, or `test/<name>` where a further task is tested."""
    data = datamodule_of(trainer)
    return f"{stage}/{data.tested}" if stage == "test" and isinstance(data, HasTasks) and data.tested else stage


def fast_dev_run(trainer: Trainer) -> bool:
    """Return whether the trainer only tries a few batches."""
    return bool(vars(trainer).get("fast_dev_run"))


def run_seed() -> int:
    """Return the run's seed: the one of `seed_everything`, else 0."""
    return int(os.environ.get("PL_GLOBAL_SEED") or 0)


def _spans(stages: Sequence[Stage], max_epochs: int | None) -> list[str]:
    """Return in words which epochs each stage takes; refuse stages that can never begin or end."""
    limited = max_epochs is not None and max_epochs > 0
    spans, start = [], 0
    for number, stage in enumerate(stages):
        later = sum(other.epochs or 0 for other in stages[number + 1 :])
        last = number == len(stages) - 1
        if limited and start >= (max_epochs or 0):
            names = ", ".join(repr(one.name) for one in stages[:number])
            advice = f"The stages before it ({names}) take {start} epochs; raise it, or shorten them"
            raise SettingError("max_epochs", max_epochs, f"more than {start}, or {stage.name!r} never begins", advice)
        epochs = stage.epochs
        if epochs is None and limited:
            epochs = max((max_epochs or 0) - start - later, 1)
        if epochs is None and stage.patience is None and not last:
            raise SettingError("max_epochs", max_epochs, f"a number, or {stage.name!r} never ends")
        early = "" if stage.patience is None else f", fewer after {stage.patience} without growth"
        spans.append("until stopped" if epochs is None else f"{epochs} epochs{early}")
        start += epochs or 1
    return spans


@rank_zero_only
def _show(stages: Sequence[Stage], spans: Sequence[str]) -> None:
    table = Table("stage", "at most", "learning rates", box=box.SIMPLE_HEAD)
    for stage, span in zip(stages, spans):
        rates = ", ".join(f"{name} {rate:g}" for name, rate in stage.rates.items() if rate)
        table.add_row(stage.name, span, rates or "those of the optimizer")
    Console(stderr=True).print(table)
