"""Deep knowledge tracing."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments
from lpr_lightning.metrics import AnswerMetrics
from lpr_lightning.nets.asked_logits import asked_logits
from lpr_lightning.nets.live_rows import LiveRows
from lpr_lightning.nets.lstm import InteractionLSTM
from lpr_lightning.types import Answers, InteractionBatch, TracerState


class DKT(LightningModule):
    """Predicts each next answer from all earlier ones by an LSTM over (concept, answer) pairs (Piech et al. 2015).

    Differs from the paper:
    1. The one-hot input is an embedding followed by the LSTM's input product.
    2. An answer on several concepts is one input (the mean of their embeddings) and one prediction (the mean of their
       logits), never several rows, so that no answer is seen before it is predicted.

    Batches are `InteractionBatch`; satisfies `KnowledgeTracer`.

    Args:
        num_concepts: Number of concepts; the command line fills it in from the data.
        embedding_size: Width of the interaction embedding.
        hidden_size: Width of the LSTM state.
        num_layers: LSTM layers.
        dropout: On the output, in [0, 1).
        learning_rate: Of Adam.
        weight_decay: Of Adam.

    >>> tracer = DKT(num_concepts=4).eval()
    >>> state = tracer.observe(tracer.initial_state(2), torch.tensor([0, 3]), torch.tensor([1.0, 0.0]))
    >>> tracer.mastery(state).shape
    torch.Size([2, 4])
    """

    monitor = ("val/auc", "max")

    def __init__(
        self,
        num_concepts: int | None = None,
        embedding_size: int = 100,
        hidden_size: int = 100,
        num_layers: int = 1,
        dropout: float = 0.2,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()))
        if not num_concepts or num_concepts < 1:
            raise SettingError("num_concepts", num_concepts, "a whole number above 0", "take it from the datamodule")
        for name, size in (("embedding_size", embedding_size), ("hidden_size", hidden_size), ("layers", num_layers)):
            if size < 1:
                raise SettingError(name, size, "a whole number above 0")
        if not 0 <= dropout < 1:
            raise SettingError("dropout", dropout, "a number from 0 to below 1")
        if learning_rate <= 0:
            raise SettingError("learning_rate", learning_rate, "a number above 0")
        self.num_concepts = num_concepts
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.net = InteractionLSTM(num_concepts, embedding_size, hidden_size, num_layers, dropout)
        self.dropout = dropout
        self.head = nn.Linear(hidden_size, num_concepts)
        self.val_metrics, self.test_metrics = AnswerMetrics(), AnswerMetrics()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.net.reset_parameters()
        self.head.reset_parameters()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)

    def forward(self, batch: InteractionBatch) -> Tensor:
        """Return the logits [B, T - 1] of answers 1 … T - 1, each from those before it; 0 where there is no answer."""
        logit, rows = self.next_logits(batch)
        return rows.unpack(logit)

    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, LiveRows]:
        """Return the logits [R] of all real next answers, and where they lie among answers 1 … T - 1."""
        rows = LiveRows.of(batch.mask[:, 1:])
        hidden = self.net.live(batch.concept[:, :-1], batch.correct[:, :-1], rows)
        asked = rows.pack(batch.concept[:, 1:])
        dropout = self.dropout if self.training else 0.0
        return asked_logits(hidden, self.head.weight, self.head.bias, asked, dropout), rows

    def training_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        """Return the mean binary cross-entropy of next answers."""
        logit, rows = self.next_logits(batch)
        target = rows.pack(batch.correct[:, 1:])
        loss = F.binary_cross_entropy_with_logits(logit, target, reduction="sum") / max(len(target), 1)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, Answers]:
        """Return the predicted answers of the validation learners."""
        return self._answers(batch, self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log exact AUC, accuracy, ECE and Brier score."""
        self._report("val", self.val_metrics)

    def test_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, Answers]:
        """Return the predicted answers of the test learners."""
        return self._answers(batch, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        """Log exact AUC, accuracy, ECE and Brier score."""
        self._report("test", self.test_metrics)

    def predict_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        """Return the mastery [B, N] of each learner after the whole log."""
        return self.mastery(self.encode(batch))

    def initial_state(self, batch_size: int) -> TracerState:
        """Return the state of learners without history."""
        return self.net.initial_state(batch_size)

    def encode(self, history: InteractionBatch) -> TracerState:
        """Return the state after whole histories."""
        return self.net.encode(history.concept, history.correct, history.mask)

    def observe(self, state: TracerState, concept: Tensor, correct: Tensor) -> TracerState:
        """Return the state after one answer each."""
        return self.net.step(cast(Any, state), _several(concept), correct)

    def observe_each(self, state: TracerState, concept: Tensor, correct: Tensor) -> TracerState:
        """Return the states after each of A possible answers ([B, A] in, B * A rows out)."""
        return self.net.branch(cast(Any, state), concept, correct)

    def predict(self, state: TracerState, concept: Tensor) -> Tensor:
        """Return the success probability [B] of an answer."""
        return asked_logits(state[0][:, -1], self.head.weight, self.head.bias, _several(concept)).sigmoid()

    def mastery(self, state: TracerState) -> Tensor:
        """Return the success probability of every concept, [B, N]."""
        mastery: Tensor = self.head(state[0][:, -1]).sigmoid()
        return mastery

    def mastery_of(self, state: TracerState, concept: Tensor) -> Tensor:
        """Return the success probabilities [B * G, A] of the concepts [B, A] only, G states for each row of them."""
        hidden = state[0][:, -1].view(len(concept), -1, state[0].shape[-1])
        logit = torch.baddbmm(self.head.bias[concept][:, None], hidden, self.head.weight[concept].transpose(1, 2))
        return logit.sigmoid().flatten(0, 1)

    def _answers(self, batch: InteractionBatch, metrics: AnswerMetrics) -> dict[str, Answers]:
        """Return every real next answer beside its prediction, and add them to `metrics`."""
        logit, rows = self.next_logits(batch)
        answers = Answers(
            probability=logit.sigmoid(),
            correct=rows.pack(batch.correct[:, 1:]),
            concept=rows.pack(batch.concept[:, 1:]),
            item=rows.pack(batch.item[:, 1:]),
            learner=batch.learner[rows.token // max(rows.steps, 1)],
        )
        metrics.update(answers.probability, answers.correct)
        return {"answers": answers}

    def _report(self, stage: str, metrics: AnswerMetrics) -> None:
        self.log_dict(
            {f"{stage}/{name}": value for name, value in metrics.compute().items()},
            prog_bar=stage == "val",
            sync_dist=True,
        )
        metrics.reset()


def _several(concept: Tensor) -> Tensor:
    return concept if concept.dim() == 2 else concept[:, None]
