"""simpleKT: knowledge tracing by plain attention over earlier answers."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lpr_lightning.bases.tracer import TracerModule, mean_cross_entropy
from lpr_lightning.errors import SettingError, checked, checked_positive
from lpr_lightning.hparams import arguments
from lpr_lightning.nets.attention_tracer import AttentionTracer
from lpr_lightning.ranks import mean_count
from lpr_lightning.types import PAD, InteractionBatch


class SimpleKT(TracerModule):
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
    5. While training, questions are hidden at random, so that concepts can be asked without a question and unknown
       questions count as questions of mean difficulty.
    6. Dropout falls on the answers that are attended to, not on the attention weights.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        num_items: number of questions; the command line fills it in from the data.
        width: of all vectors; a multiple of `num_heads`.
        num_layers: attention blocks.
        num_heads: heads of each block.
        window: answers that a block sees, counted back from the question.
        dropout: on answers, residuals and hidden layers, in [0, 1).
        item_dropout: share of answers whose question is hidden in a training step, in [0, 1).
        learning_rate: of AdamW.
        weight_decay: of AdamW; not on biases, norms, positions and difficulties.
        difficulty_decay: weight of the mean squared difficulty in the loss.

    Raises:
        SettingError: a setting is out of range.

    >>> from lpr_lightning.types import Exercise
    >>> tracer = SimpleKT(num_concepts=4, num_items=9).eval()
    >>> asked = Exercise.of_concepts(torch.tensor([0, 3]))
    >>> state = tracer.observe(tracer.initial_state(2), asked, torch.tensor([1.0, 0.0]))
    >>> tracer.mastery(state).shape
    torch.Size([2, 4])
    """

    first_answer = 0
    net: AttentionTracer

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
        super().__init__(num_concepts)
        self.save_hyperparameters(arguments(locals()))
        num_items = checked("num_items", num_items, 1)
        for name, size in (("num_layers", num_layers), ("num_heads", num_heads), ("window", window)):
            checked(name, size, 1)
        if width < 1 or width % num_heads:
            raise SettingError("width", width, f"a multiple of num_heads={num_heads}")
        for name, share in (("dropout", dropout), ("item_dropout", item_dropout)):
            checked(name, share, 0.0, 1.0)
        checked_positive("learning_rate", learning_rate)
        for name, weight in (("weight_decay", weight_decay), ("difficulty_decay", difficulty_decay)):
            checked(name, weight, 0.0)
        self.item_dropout, self.difficulty_decay = item_dropout, difficulty_decay
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.net = AttentionTracer(self.num_concepts, num_items, width, num_layers, num_heads, window, dropout)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW; only matrices decay."""
        exempt = ("embedding.difficulty.weight", "distance")
        decayed: list[Tensor] = []
        others: list[Tensor] = []
        for name, weight in self.net.named_parameters():
            (decayed if weight.dim() > 1 and not name.endswith(exempt) else others).append(weight)
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, self.learning_rate)

    def losses(self, batch: InteractionBatch) -> dict[str, Tensor]:
        """Return the mean binary cross-entropy of all answers, the first ones too, and the penalty on difficulties."""
        hidden = torch.rand_like(batch.correct) < self.item_dropout
        logit = self.net.logits(replace(batch, item=batch.item.masked_fill(hidden, PAD)))
        losses = {"answers": mean_cross_entropy(logit[batch.mask], batch.correct[batch.mask])}
        if self.difficulty_decay:
            asked = batch.item[batch.mask & (batch.item >= 0)]
            square = self.net.embedding.difficulty(asked).square().sum()
            count = mean_count(torch.tensor(len(asked), device=asked.device))
            losses["difficulty"] = self.difficulty_decay * square / count
        return losses
