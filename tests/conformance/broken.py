"""A method that passes every check, and for each check one that does not.

Each is the toy tracer with a single fault of the kind that is met in practice.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any, ClassVar

import torch
from jsonargparse.typing import Path_fr
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from toy_tracer import ToyTracer

from lpr_lightning.bases.tracer import TracerModule
from lpr_lightning.callbacks.non_finite_guard import NonFiniteGuard
from lpr_lightning.errors import LPRError
from lpr_lightning.hparams import arguments
from lpr_lightning.ranks import rank_and_world
from lpr_lightning.types import Answers, InteractionBatch


class Good(TracerModule):
    """The toy tracer (made up, 2026)."""

    net: ToyTracer

    def __init__(self, num_concepts: int | None = None) -> None:
        super().__init__(num_concepts)
        self.save_hyperparameters(arguments(locals()))
        self.net = ToyTracer(self.num_concepts)
        self.net.item.requires_grad_(False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([one for one in self.parameters() if one.requires_grad], 0.01)


class FindsFilesFromHere(Good):
    """Has a file beside its configuration, which is not found beside the configuration that a run saves."""

    def __init__(self, num_concepts: int | None = None, file: Path_fr | None = None) -> None:
        super().__init__(num_concepts)


class StartsAnywhere(Good):
    """Starts from other weights in every fit."""

    number = itertools.count(1)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.net.read.bias.data.fill_(1.0 / next(self.number))


class ForgetsAWeight(Good):
    """Hands a weight to the optimizer that nothing uses."""

    def __init__(self, num_concepts: int | None = None) -> None:
        super().__init__(num_concepts)
        self.idle = nn.Parameter(torch.zeros(2))

    def fit_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        return super().fit_step(batch, batch_idx) + 0 * self.idle.sum()


class CountsOutside(Good):
    """Goes by a count that no checkpoint holds."""

    batches = 0

    def losses(self, batch: InteractionBatch) -> dict[str, Tensor]:
        self.batches += 1
        return {name: loss * (1 + self.batches % 7) for name, loss in super().losses(batch).items()}


class KnowsItsRank(Good):
    """Weighs the answers of other processes more."""

    def losses(self, batch: InteractionBatch) -> dict[str, Tensor]:
        return {name: loss * (1 + 3 * rank_and_world()[0]) for name, loss in super().losses(batch).items()}


class NeedsRows(Good):
    """Puts the rows of a test together, where there are any."""

    def on_test_epoch_start(self) -> None:
        self.seen: list[Tensor] = []

    def test_step(self, batch: InteractionBatch, batch_idx: int) -> Any:
        self.seen += [batch.correct.flatten()] if len(batch) else []
        return super().test_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        torch.cat(self.seen)
        super().on_test_epoch_end()


class LooksAround(Good):
    """Predicts by who else is in the batch."""

    def answers(self, batch: InteractionBatch) -> Answers:
        answers = super().answers(batch)
        mean = answers.correct.mean() if len(answers.correct) else 0.0
        probability = 0.5 * answers.probability + 0.5 * mean * (1 + answers.learner % 2) / 2
        return Answers(probability, answers.correct, answers.concept, answers.item, answers.learner)


class NeedsFullPrecision(Good):
    """Hands a product to numpy, which knows no bfloat16."""

    def losses(self, batch: InteractionBatch) -> dict[str, Tensor]:
        square = self.net.read.weight @ torch.eye(4)
        self.log("train/weight", float(square.detach().numpy().sum()))
        return super().losses(batch)


class StepsTwice(Good):
    """Takes two optimizer steps for a batch."""

    def __init__(self, num_concepts: int | None = None) -> None:
        super().__init__(num_concepts)
        self.automatic_optimization = False

    def training_step(self, batch: object, batch_idx: int) -> Tensor | None:
        optimizer = self.optimizers()
        assert isinstance(batch, InteractionBatch)
        assert not isinstance(optimizer, list)
        for _ in range(2):
            optimizer.zero_grad()
            self.manual_backward(self.fit_step(batch, batch_idx))
            optimizer.step()
        return None


class KeepsEverything(Good):
    """Keeps the loss of every batch."""

    kept: ClassVar[list[Tensor]] = []

    def fit_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        loss = super().fit_step(batch, batch_idx)
        KeepsEverything.kept += [loss.detach().clone(), loss.detach() * 2]
        return loss


class HidesArguments(Good):
    """Does not record with what it was made."""

    def __init__(self, num_concepts: int | None = None) -> None:
        super().__init__(num_concepts)
        self.hparams.clear()
        self._set_hparams({})


class GoesOnWithNaN(Good):
    """Takes a loss of 0 where the loss is NaN, and does without the guard."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        callbacks = vars(self.trainer)["callbacks"]
        callbacks[:] = [one for one in callbacks if not isinstance(one, NonFiniteGuard)]

    def fit_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        loss = super().fit_step(batch, batch_idx)
        return loss if bool(loss.isfinite()) else torch.zeros((), requires_grad=True) * 1.0


class PassesOverAFullDisk(Good):
    """Goes on where a checkpoint cannot be written."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        save = self.trainer.save_checkpoint

        def tried(*given: Any, **named: Any) -> None:
            with suppress(LPRError, OSError):
                save(*given, **named)

        vars(self.trainer)["save_checkpoint"] = tried


class RemembersTheFit(Good):
    """Predicts by what it met in training, kept in no buffer."""

    bonus = 0.0

    def on_train_end(self) -> None:
        self.bonus = 0.3

    def answers(self, batch: InteractionBatch) -> Answers:
        answers = super().answers(batch)
        probability = answers.probability + self.bonus * (1 - answers.probability) * (answers.learner % 2)
        return Answers(probability, answers.correct, answers.concept, answers.item, answers.learner)


class Meddles(Callback):
    """Changes what it looks at."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        for weight in pl_module.parameters():
            weight.data += 0.01


class AnswersNobody(Good):
    """Keeps its predictions for unseen learners to itself."""

    def predict_step(self, request: object, batch_idx: int) -> Any:
        return {}


class NamesAtWill(Good):
    """Logs a figure that is of no stage."""

    def fit_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        self.log("my_loss", 0.0)
        return super().fit_step(batch, batch_idx)


class KnowsOneDataSet(Good):
    """Is made for ten concepts."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.num_concepts != 10:
            raise ValueError("ten concepts, please")
