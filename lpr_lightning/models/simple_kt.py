"""simpleKT: knowledge tracing by plain attention over earlier answers."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments
from lpr_lightning.metrics import AnswerMetrics
from lpr_lightning.nets.attention_tracer import AttentionTracer
from lpr_lightning.types import PAD, Answers, InteractionBatch, LearnerData, TracerState


class SimpleKT(LightningModule):
    """Predicts each next answer by letting its question attend to the answers before it (arXiv 2302.06881).

    A question's vector is that of its concept plus its difficulty times the concept's variation vector; an answer's
    vector adds one of two answer vectors. Blocks of scaled dot-product attention have questions as queries and keys
    and answers as values; a net reads the success probability from what was attended to and the question.

    Differs from the paper:
    1. A question's difficulty is one number (the Rasch model), not a vector; it moves the answer's vector too.
    2. Positions are relative: a learned number for each head and distance instead of sinusoids. A block sees the last
       `window` answers, so that a step costs the same however long the log and equals the pass over the whole log.
    3. What stands before the first answer is a learned key and value, where the paper has zeros; first answers are
       learned from too.
    4. An answer on several concepts is one answer on the mean of their vectors, never several rows.
    5. While training, questions are forgotten at random, so that concepts can be asked without a question and unseen
       questions count as questions of mean difficulty.
    6. Dropout falls on the answers that are attended to, not on the attention weights.

    Batches are `InteractionBatch`; satisfies `KnowledgeTracer` and `QuestionTracer`.

    Args:
        num_concepts: Number of concepts; the command line fills it in from the data.
        num_items: Number of questions; the command line fills it in from the data.
        width: Of all vectors; a multiple of `num_heads`.
        num_layers: Attention blocks.
        num_heads: Heads of each block.
        window: Answers that a block sees, counted back from the question.
        dropout: On answers, residuals and hidden layers, in [0, 1).
        item_dropout: Share of answers whose question is forgotten in a training step, in [0, 1).
        learning_rate: Of AdamW.
        weight_decay: Of AdamW; not on biases, norms, positions and difficulties.
        difficulty_decay: Weight of the mean squared difficulty in the loss.

    >>> tracer = SimpleKT(num_concepts=4, num_items=9).eval()
    >>> state = tracer.observe(tracer.initial_state(2), torch.tensor([0, 3]), torch.tensor([1.0, 0.0]))
    >>> tracer.mastery(state).shape
    torch.Size([2, 4])
    """

    monitor = ("val/auc", "max")

    def __init__(
        self,
        num_concepts: int | None = None,
        num_items: int | None = None,
        width: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        window: int = 200,
        dropout: float = 0.2,
        item_dropout: float = 0.1,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        difficulty_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()))
        for name, count in (("num_concepts", num_concepts), ("num_items", num_items)):
            if not count or count < 1:
                raise SettingError(name, count, "a whole number above 0", "take it from the datamodule")
        for name, size in (("num_layers", num_layers), ("num_heads", num_heads), ("window", window)):
            if size < 1:
                raise SettingError(name, size, "a whole number above 0")
        if width < 1 or width % num_heads:
            raise SettingError("width", width, f"a multiple of num_heads={num_heads}")
        for name, share in (("dropout", dropout), ("item_dropout", item_dropout)):
            if not 0 <= share < 1:
                raise SettingError(name, share, "a number from 0 to below 1")
        if learning_rate <= 0:
            raise SettingError("learning_rate", learning_rate, "a number above 0")
        for name, weight in (("weight_decay", weight_decay), ("difficulty_decay", difficulty_decay)):
            if weight < 0:
                raise SettingError(name, weight, "a number of 0 or more")
        self.num_concepts, self.num_items = int(num_concepts or 0), int(num_items or 0)
        self.item_dropout, self.difficulty_decay = item_dropout, difficulty_decay
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.net = AttentionTracer(self.num_concepts, self.num_items, width, num_layers, num_heads, window, dropout)
        self.val_metrics, self.test_metrics = AnswerMetrics(), AnswerMetrics()

    def connect(self, data: LearnerData) -> None:
        """Learn which concepts each question is on."""
        self.net.embedding.place(data.item_concepts)

    def setup(self, stage: str) -> None:
        """Connect to the trainer's data if nobody has."""
        data = getattr(self.trainer, "datamodule", None)
        if data is not None and not self.net.embedding.item_concepts.shape[1]:
            self.connect(data)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.net.reset_parameters()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW; only matrices decay."""
        exempt = {"net.embedding.difficulty.weight"}
        named = list(self.named_parameters())
        decayed = [w for name, w in named if w.dim() > 1 and name not in exempt and not name.endswith("distance")]
        chosen = {id(weight) for weight in decayed}
        others = [weight for _, weight in named if id(weight) not in chosen]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, self.learning_rate)

    def forward(self, batch: InteractionBatch) -> Tensor:
        """Return the logits [B, T - 1] of answers 1 … T - 1, each from the answers before it."""
        logit: Tensor = self.net(self._questions(batch), batch.correct)[:, 1:]
        return logit

    def training_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        """Return the mean binary cross-entropy of all answers, and the penalty on difficulties."""
        item = torch.where(torch.rand_like(batch.correct) < self.item_dropout, PAD, batch.item)
        logit = self.net(self.net.embedding.question(batch.concept, item), batch.correct)
        loss = F.binary_cross_entropy_with_logits(logit[batch.mask], batch.correct[batch.mask])
        self.log("train/loss_answers", loss, batch_size=len(batch))
        if self.difficulty_decay:
            asked = batch.item[batch.mask].clamp_min(0)
            loss = loss + self.difficulty_decay * self.net.embedding.difficulty(asked).square().mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, Answers]:
        """Predict the answers of the validation learners."""
        return {"answers": self._evaluate(batch, self.val_metrics)}

    def on_validation_epoch_end(self) -> None:
        """Log exact AUC, accuracy, ECE and Brier score."""
        self._report("val", self.val_metrics)

    def test_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, Answers]:
        """Predict the answers of the test learners."""
        return {"answers": self._evaluate(batch, self.test_metrics)}

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
        return self.net.encode(self._questions(history), history.correct, history.mask)

    def observe(self, state: TracerState, concept: Tensor, correct: Tensor) -> TracerState:
        """Return the state after one answer each to a question of mean difficulty."""
        return self.net.step(state, self._concepts(concept)[:, None], correct[:, None])

    def observe_each(self, state: TracerState, concept: Tensor, correct: Tensor) -> TracerState:
        """Return the states after each of A possible answers ([B, A] in, B * A rows out)."""
        return self.net.step(state, self.net.embedding.question(concept[..., None]), correct)

    def observe_item(self, state: TracerState, item: Tensor, correct: Tensor) -> TracerState:
        """Return the state after one answer each to a question."""
        return self.net.step(state, self._items(item)[:, None], correct[:, None])

    def predict(self, state: TracerState, concept: Tensor) -> Tensor:
        """Return the success probability [B] of an answer to a question of mean difficulty."""
        return self.net.logit(state, self._concepts(concept)[:, None])[:, 0].sigmoid()

    def predict_item(self, state: TracerState, item: Tensor) -> Tensor:
        """Return the success probability [B] of an answer to a question."""
        return self.net.logit(state, self._items(item)[:, None])[:, 0].sigmoid()

    def mastery(self, state: TracerState) -> Tensor:
        """Return the success probability of every concept, [B, N]."""
        concept = torch.arange(self.num_concepts, device=state[2].device)
        return self.mastery_of(state, concept.expand(len(state[2]), -1))

    def mastery_of(self, state: TracerState, concept: Tensor) -> Tensor:
        """Return the success probabilities [B * G, A] of the concepts [B, A] only, G states for each row of them."""
        question = self.net.embedding.question(concept[..., None])
        question = question.repeat_interleave(len(state[2]) // max(len(concept), 1), 0)
        return self.net.logit(state, question).sigmoid()

    def _questions(self, batch: InteractionBatch) -> Tensor:
        return self.net.embedding.question(batch.concept, batch.item)

    def _concepts(self, concept: Tensor) -> Tensor:
        return self.net.embedding.question(concept if concept.dim() == 2 else concept[:, None])

    def _items(self, item: Tensor) -> Tensor:
        return self.net.embedding.question(self.net.embedding.concepts_of(item), item)

    def _evaluate(self, batch: InteractionBatch, metrics: AnswerMetrics) -> Answers:
        real = batch.mask[:, 1:]
        probability = self(batch).sigmoid()[real]
        answers = Answers(
            probability=probability,
            correct=batch.correct[:, 1:][real],
            concept=batch.concept[:, 1:][real],
            item=batch.item[:, 1:][real],
            learner=batch.learner[:, None].expand_as(real)[real],
        )
        metrics.update(answers.probability, answers.correct)
        return answers

    def _report(self, stage: str, metrics: AnswerMetrics) -> None:
        self.log_dict(
            {f"{stage}/{name}": value for name, value in metrics.compute().items()},
            prog_bar=stage == "val",
            sync_dist=True,
        )
        metrics.reset()
