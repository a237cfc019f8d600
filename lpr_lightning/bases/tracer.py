"""What every knowledge tracer has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.bases.staged import Stage, Staged, datamodule_of
from lpr_lightning.errors import checked
from lpr_lightning.metrics import AnswerMetrics, answer_selection
from lpr_lightning.nets.tracer_net import TracerNet
from lpr_lightning.protocols import HasExamples, LearnerData
from lpr_lightning.ranks import mean_count, mean_over_ranks, rank_and_world
from lpr_lightning.tensors import listed
from lpr_lightning.types import PAD, Answers, Exercise, InteractionBatch, PathRequest, State, TensorData


class TracerModule(Staged):
    """A knowledge tracer as a LightningModule; a subclass gives `net`, an optimizer, and what else is its own.

    `net` is a `nets.tracer_net.TracerNet`, whose calls this class passes on. Batches are `InteractionBatch` (task
    `NextAnswers`). The loss is the mean binary cross-entropy of next answers; override `losses` for more terms, or
    `stages` for more stages. A batch weighs by how many answers it has: rows of a batch are alike in length, and the
    mean within each batch would let the answers of short logs weigh more. Evaluation steps return
    `{"answers": Answers}` and log AUC, accuracy, ECE and Brier score; `val/selection` chooses the checkpoint: the AUC
    or, where it is undefined, 1 less the Brier score. `predict_step` takes requests of learners never seen and returns
    `{"request", "mastery", "asked", "success"}`.

    A subclass sets `self.net` after `super().__init__(num_concepts)` and `save_hyperparameters`; one that takes more
    than sizes from the data overrides `connect` and `connected`.

    Args:
        num_concepts: number of concepts of the data.

    Raises:
        SettingError: `num_concepts` is missing or below 1.
    """

    monitor = ("val/selection", "max")
    first_answer = 1
    """Place in a row of the first answer that the loss counts."""
    net: TracerNet

    def __init__(self, num_concepts: int | None) -> None:
        super().__init__()
        self.num_concepts = checked("num_concepts", num_concepts, 1)
        self.training_size: tuple[int, int] | None = None
        self.val_metrics, self.test_metrics = AnswerMetrics(), AnswerMetrics()
        self._undefined: set[str] = set()

    @property
    def connected(self) -> bool:
        """Whether what is needed of the data is there."""
        return True

    def connect(self, data: LearnerData) -> None:
        """Take from the data what is needed beyond sizes; nothing here."""

    def setup(self, stage: str) -> None:
        """Connect to the trainer's data where nobody has."""
        if not self.connected and isinstance(data := datamodule_of(self.trainer), LearnerData):
            self.connect(data)

    def on_train_start(self) -> None:
        """Count the training answers and the rows that hold them, where the loader tells."""
        super().on_train_start()
        loader = self.trainer.train_dataloader
        if isinstance(loader, HasExamples) and len(sizes := loader.examples.sizes):
            self.training_size = int((sizes - self.first_answer).sum()), len(sizes)

    def stages(self) -> Sequence[Stage]:
        """Return the only stage."""
        return [Stage("training", self.fit_step, select=answer_selection)]

    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return the logits [R] of all real next answers, and their places in the flattened answers 1 … T - 1."""
        return self.net.next_logits(batch)

    def forward(self, batch: InteractionBatch) -> Tensor:
        """Return the logits [B, T - 1] of answers 1 … T - 1, each from those before it; 0 where there is no answer."""
        logit, place = self.next_logits(batch)
        padded = logit.new_zeros(len(batch) * max(batch.mask.shape[1] - 1, 0)).index_copy(0, place, logit)
        return padded.view(len(batch), -1)

    def losses(self, batch: InteractionBatch) -> dict[str, Tensor]:
        """Return the terms of the loss by name, means over the answers of the batch; their sum is trained."""
        logit, place = self.next_logits(batch)
        target = batch.correct[:, 1:].flatten()[place]
        return {"answers": mean_cross_entropy(logit, target)}

    def fit_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        return self.total(self.losses(batch), len(batch), self.batch_weight(batch))

    def total(self, losses: Mapping[str, Tensor], batch_size: int, weight: Tensor | float = 1.0) -> Tensor:
        """Return the sum of the terms times the batch's weight; log it unweighted as `train/loss`, and its terms."""
        loss = torch.stack(list(losses.values())).sum()
        self.log("train/loss", loss, prog_bar=True, batch_size=batch_size)
        if len(losses) > 1:
            self.log_dict({f"train/loss_{name}": value for name, value in losses.items()}, batch_size=batch_size)
        loss = weight * loss
        if rank_and_world()[1] > 1:  # ddp waits for the gradient of every weight
            loss = loss + 0.0 * sum(one.sum() for one in self.parameters() if one.requires_grad)
        return loss

    def batch_weight(self, batch: InteractionBatch) -> Tensor | float:
        """Return the answers of a batch, of all ranks, over those of as many average training rows; 1 if unknown."""
        if self.training_size is None:
            return 1.0
        all_answers, all_rows = self.training_size
        answers = batch.mask[:, self.first_answer :].sum()
        rows = torch.full_like(answers, len(batch))
        answers, rows = mean_over_ranks(torch.stack([answers, rows]).float()).unbind()
        return (answers * all_rows) / (all_answers * rows)

    def validation_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, TensorData]:
        """Return the predicted answers of validation learners."""
        return self.evaluate(batch, "val")

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the validation learners."""
        figures = self.report("val")
        self.validated(figures)
        select = self._stages[0].select if len(self._stages) == 1 else None
        if select is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.log("val/selection", select(figures), sync_dist=True)

    def test_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, TensorData]:
        """Return the predicted answers of test learners."""
        return self.evaluate(batch, "test")

    def on_test_epoch_end(self) -> None:
        """Log the figures of the test learners."""
        self.report("test")

    def predict_step(self, request: PathRequest | InteractionBatch, batch_idx: int) -> dict[str, TensorData | Tensor]:
        """Return the mastery [B, N] of each learner after the history; of a request also the success [B, A] at its
        targets and at what is asked besides, the exercises `asked` [B, A] (nothing where unused)."""
        if isinstance(request, InteractionBatch):
            return {"request": request, "mastery": self.mastery(self.encode(request))}
        state, asked = self.encode(request.history), exercises_of(request)
        mastery, something = self.mastery(state), asked.asked
        success = mastery.new_full(asked.shape, torch.nan)
        if bool(something.any()):
            harmless = replace(asked, concept=asked.concept.masked_fill(~something[..., None], 0))
            success = self.predict(state, harmless).masked_fill(~something, torch.nan)
        return {"request": request, "mastery": mastery, "asked": asked, "success": success}

    def evaluate(self, batch: InteractionBatch, stage: str) -> dict[str, TensorData]:
        """Predict the answers of a batch and count them."""
        answers = self.answers(batch)
        self.metrics_of(stage).update(answers.probability, answers.correct)
        return {"answers": answers}

    def answers(self, batch: InteractionBatch) -> Answers:
        """Return every real next answer beside its prediction."""
        logit, place = self.next_logits(batch)
        return answers_at(logit.sigmoid().float(), place, batch)

    def metrics_of(self, stage: str) -> AnswerMetrics:
        """Return the metrics of `val` or `test`."""
        return self.val_metrics if stage == "val" else self.test_metrics

    def figures(self, stage: str) -> dict[str, Tensor]:
        """Return the figures of a stage over all ranks, and forget what they were computed from."""
        metrics = self.metrics_of(stage)
        figures: dict[str, Tensor] = metrics.compute()
        metrics.reset()
        return figures

    def report(self, stage: str) -> dict[str, Tensor]:
        """Log the figures of a stage as `<stage>/<name>`, and return them."""
        figures = self.figures(stage)
        self._say_undefined(stage, figures)
        for name, value in figures.items():
            self.log(f"{stage}/{name}", value, prog_bar=stage == "val", sync_dist=True)
        return figures

    def _say_undefined(self, stage: str, figures: Mapping[str, Tensor]) -> None:
        """Warn, once a stage, of an AUC that its answers leave undefined."""
        if stage in self._undefined or "auc" not in figures or "brier" not in figures:
            return
        if bool(figures["auc"].isnan() & figures["brier"].isfinite()):
            self._undefined.add(stage)
            chosen = "; 1 less val/brier chooses the checkpoint instead (val/selection)" if stage == "val" else ""
            rank_zero_warn(f"{stage}/auc is undefined: the answers to predict are all right or all wrong{chosen}.")

    def initial_state(self, batch_size: int) -> State:
        """Return the state of learners without history."""
        return self.net.initial_state(batch_size)

    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole histories."""
        return self.net.encode(history)

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each."""
        return self.net.observe(state, asked, correct)

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a step of an episode."""
        return self.net.practise(state, asked, correct)

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers."""
        return self.net.predict(state, asked)

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the mastery of every concept, [B, N], or of some, [B * G, M]."""
        return self.net.mastery(state, concept)


def exercises_of(request: PathRequest) -> Exercise:
    """Return what requests are about, [B, A]: each target at large, then what is asked besides; nothing where unused.

    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> exercises_of(Ladder(3).request(targets=[[0, 2], [1]], length=2)).concept.squeeze(-1)
    tensor([[ 0,  2],
            [ 1, -1]])
    """
    targets, more = Exercise.of_concepts(listed(request.targets)), request.asked
    if more is None:
        return targets
    wide = F.pad(targets.concept, (0, more.concept.shape[-1] - 1), value=PAD)
    return Exercise(torch.cat([wide, more.concept], 1), torch.cat([targets.item, more.item], 1))


def mean_cross_entropy(logit: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of logits [R], over the answers of all ranks when ddp averages it."""
    total = F.binary_cross_entropy_with_logits(logit, target, reduction="sum")
    return total / mean_count(torch.tensor(len(target), device=logit.device))


def answers_at(probability: Tensor, place: Tensor, batch: InteractionBatch) -> Answers:
    """Return predictions [R] beside the answers at `place` [R] of the flattened answers 1 … T - 1 of a batch."""
    return Answers(
        probability=probability,
        correct=batch.correct[:, 1:].flatten()[place],
        concept=batch.concept[:, 1:].flatten(0, 1)[place],
        item=batch.item[:, 1:].flatten()[place],
        learner=batch.learner[place // max(batch.mask.shape[1] - 1, 1)],
    )
