"""The common frame of callbacks that look at validation and test: at rollouts, at answers or at histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar, get_args, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import STEP_OUTPUT

from lpr_lightning.bases.staged import figures_name
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.types import Answers, InteractionBatch, PathRequest, Rollout

Part = TypeVar("Part")
Stage = Literal["val", "test"]
"""Evaluation stages, named as in the logged figures."""
Loop = Literal["val", "test", "predict"]


class EndedBatch(NamedTuple):
    """A batch that a step is through with: the loop, what the step returned, the batch and its place."""

    loop: Loop
    outputs: object
    batch: object
    number: int
    loader: int


@runtime_checkable
class HasHistory(Protocol):
    """A batch with the learners' histories, such as `types.PathRequest`."""

    @property
    def history(self) -> InteractionBatch:
        """The answers so far."""
        ...


class BatchEnds(Callback):
    """Hands every batch of validation, test and prediction to one method, after the other base classes had it."""

    def batch_ended(self, trainer: Trainer, pl_module: LightningModule, ended: EndedBatch) -> None:
        """Look at one batch."""

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand over a validation batch."""
        super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self.batch_ended(trainer, pl_module, EndedBatch("val", outputs, batch, batch_idx, dataloader_idx))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand over a test batch."""
        super().on_test_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self.batch_ended(trainer, pl_module, EndedBatch("test", outputs, batch, batch_idx, dataloader_idx))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand over a batch of predictions."""
        super().on_predict_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self.batch_ended(trainer, pl_module, EndedBatch("predict", outputs, batch, batch_idx, dataloader_idx))


class EvaluationCallback(BatchEnds):
    """Hands every batch of validation and test to four methods; override those that are needed.

    Sanity checks are passed over. `stage` is what the figures' names begin with: `val`, `test`, or `test/<name>` where
    a further task of the datamodule is tested. `begin`, `look` and `finish` run on every rank; `finish` and `show`
    only if `look` found something on some rank, and `show` on rank zero alone, after the epoch's figures have reached
    `trainer.callback_metrics`.

    Args:
        stages: evaluation stages to look at.
        every_n_epochs: while fitting, look only at every n-th epoch.

    Raises:
        SettingError: an argument is out of its range.
    """

    def __init__(self, stages: Sequence[Stage] = ("val", "test"), every_n_epochs: int = 1) -> None:
        self.stages = checked_stages(stages)
        self.every_n_epochs = checked("every_n_epochs", every_n_epochs, 1)
        self._seen = self._any_seen = False

    @property
    def state_key(self) -> str:
        """Name of this callback's state in a checkpoint."""
        return self._generate_state_key(stages=self.stages)

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the last evaluation."""

    def look(self, trainer: Trainer, pl_module: LightningModule, stage: str, ended: EndedBatch) -> bool:
        """Look at one batch; return whether there was anything in it."""
        return False

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Gather across ranks and log."""

    def show(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Draw or write."""

    def batch_ended(self, trainer: Trainer, pl_module: LightningModule, ended: EndedBatch) -> None:
        """Look at a batch where it is due."""
        if ended.loop != "predict" and self._due(trainer, ended.loop):
            self._seen |= self.look(trainer, pl_module, figures_name(trainer, ended.loop), ended)

    def _due(self, trainer: Trainer, stage: Stage) -> bool:
        if trainer.sanity_checking or stage not in self.stages:
            return False
        return trainer.state.fn != TrainerFn.FITTING or trainer.current_epoch % self.every_n_epochs == 0

    def _begin(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        self._seen = self._any_seen = False
        if self._due(trainer, stage):
            self.begin(trainer, pl_module, figures_name(trainer, stage))

    def _finish(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        if self._due(trainer, stage):
            self._any_seen = trainer.strategy.reduce_boolean_decision(self._seen, all=False)
            if self._any_seen:
                self.finish(trainer, pl_module, figures_name(trainer, stage))

    def _show(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        if self._any_seen and self._due(trainer, stage) and trainer.is_global_zero:
            self.show(trainer, pl_module, figures_name(trainer, stage))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a validation."""
        self._begin(trainer, pl_module, "val")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a test."""
        self._begin(trainer, pl_module, "test")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish a validation."""
        self._finish(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish a test."""
        self._finish(trainer, pl_module, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show a validation."""
        self._show(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show a test."""
        self._show(trainer, pl_module, "test")


class RolloutCallback(EvaluationCallback):
    """The frame for rollouts.

    Steps return a dict with `"rollout"` (`types.Rollout`) and, for callbacks that teach again, `"request"`
    (`types.PathRequest`). Batches without a rollout are passed over.
    """

    def take(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, rollout: Rollout, request: PathRequest | None
    ) -> None:
        """Look at one batch."""

    def look(self, trainer: Trainer, pl_module: LightningModule, stage: str, ended: EndedBatch) -> bool:
        """Take the rollout of a batch, if it has one."""
        rollout = part_of(ended, "rollout", Rollout)
        if rollout is not None:
            self.take(trainer, pl_module, stage, rollout, part_of(ended, "request", PathRequest))
        return rollout is not None


class AnswersCallback(EvaluationCallback):
    """The frame for predicted answers.

    Steps return a dict with `"answers"` (`types.Answers`). Batches without answers are passed over.
    """

    def take(self, trainer: Trainer, pl_module: LightningModule, stage: str, answers: Answers) -> None:
        """Look at the answers of one batch."""

    def look(self, trainer: Trainer, pl_module: LightningModule, stage: str, ended: EndedBatch) -> bool:
        """Take the answers of a batch, if it has any."""
        answers = part_of(ended, "answers", Answers)
        if answers is not None:
            self.take(trainer, pl_module, stage, answers)
        return answers is not None


class HistoryCallback(EvaluationCallback):
    """The frame for the histories that come in, whatever the steps return.

    A batch is an `InteractionBatch` itself, or has one as its `history` (a `PathRequest`). Others are passed over.
    """

    def take(self, trainer: Trainer, pl_module: LightningModule, stage: str, history: InteractionBatch) -> None:
        """Look at the histories of one batch."""

    def look(self, trainer: Trainer, pl_module: LightningModule, stage: str, ended: EndedBatch) -> bool:
        """Take the histories of a batch, if it has any."""
        history = ended.batch.history if isinstance(ended.batch, HasHistory) else ended.batch
        if not isinstance(history, InteractionBatch):
            return False
        self.take(trainer, pl_module, stage, history)
        return True


def part_of(ended: EndedBatch, name: str, kind: type[Part]) -> Part | None:
    """Return what a step gave under a name; None where it gave nothing.

    Raises:
        SettingError: it gave something of another kind.
    """
    part = ended.outputs.get(name) if isinstance(ended.outputs, Mapping) else None
    if part is not None and not isinstance(part, kind):
        raise SettingError(f'outputs["{name}"]', type(part).__name__, f"a lpr_lightning.types.{kind.__name__}")
    return part


def checked_stages(stages: Sequence[str]) -> list[Stage]:
    """Return the stages as a list, in the order validation, test.

    >>> checked_stages(["test"])
    ['test']
    >>> checked_stages(["train"])
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.SettingError: stages=['train'] cannot be used: expected one or both of val, test.
    """
    allowed: tuple[Stage, ...] = get_args(Stage)
    if isinstance(stages, str) or not stages or any(stage not in allowed for stage in stages):
        raise SettingError("stages", stages, f"one or both of {', '.join(allowed)}")
    return [stage for stage in allowed if stage in stages]
