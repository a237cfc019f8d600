"""Neural growth: levels by an LSTM, growth by practice in a few numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.bases.growth_tracer import GrowthTracer
from lpr_lightning.bases.staged import run_seed
from lpr_lightning.bases.tracer import mean_cross_entropy
from lpr_lightning.draws import Draws
from lpr_lightning.errors import checked, checked_positive
from lpr_lightning.hparams import arguments
from lpr_lightning.nets.answer_windows import AnswerWindows, random_starts
from lpr_lightning.nets.neural_growth import NeuralGrowthNet
from lpr_lightning.types import InteractionBatch


class NeuralGrowth(GrowthTracer):
    """Deep knowledge tracing (Piech et al. 2015) as evidence, under growth by practice of a given form.

    See `NeuralGrowthNet` for the equation.

    Differs from the paper:
    1. The LSTM's logits are evidence, frozen in an episode; there only practice moves, by a learned amount that depends
       on level and repetition, and that is gated by the prerequisites where the data have them. A search cannot gain by
       what answers would say about the learner.
    2. Sums of residuals stand beside the LSTM, as in `PerformanceFactors`.
    3. Two losses are trained together: next answers, as in the paper, and the answers of random windows, from what was
       read before the window, growth within it, and its residuals so far.
    4. An answer on several concepts is one input, the mean of its embeddings, and one prediction, the mean of its
       logits.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        embedding_size: width of the interaction embedding.
        hidden_size: width of the LSTM state.
        num_layers: LSTM layers.
        dropout: on the output, in [0, 1).
        windows: random windows of each row of a batch.
        window_length: answers in a window.
        window_weight: weight of the loss of windows.
        gate: let growth on a concept through only as far as its prerequisites hold.
        penalty: weight of the summed squared differences between the concepts' learning rates.
        learning_rate: of AdamW.
        weight_decay: of AdamW.

    Raises:
        SettingError: a setting is out of range.

    >>> from lpr_lightning.types import Exercise
    >>> tracer = NeuralGrowth(num_concepts=4).eval()
    >>> asked, state = Exercise.of_concepts(torch.tensor([0])), tracer.initial_state(1)
    >>> (tracer.mastery(tracer.practise(state, asked, torch.zeros(1))) > tracer.mastery(state)).tolist()
    [[True, False, False, False]]
    """

    net: NeuralGrowthNet

    def __init__(
        self,
        num_concepts: int | None = None,
        embedding_size: int = 100,
        hidden_size: int = 100,
        num_layers: int = 1,
        dropout: float = 0.5,
        windows: int = 8,
        window_length: int = 16,
        window_weight: float = 0.3,
        gate: bool = True,
        penalty: float = 2e-3,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-3,
    ) -> None:
        super().__init__(num_concepts, gate, penalty)
        self.save_hyperparameters(arguments(locals()))
        for name, size in (
            ("embedding_size", embedding_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
        ):
            checked(name, size, 1)
        checked("dropout", dropout, 0.0, 1.0)
        self.windows, self.window_length = checked("windows", windows, 1), checked("window_length", window_length, 2)
        self.window_weight = checked("window_weight", window_weight, 0.0)
        self.learning_rate = checked_positive("learning_rate", learning_rate)
        self.weight_decay = checked("weight_decay", weight_decay, 0.0)
        self.net = NeuralGrowthNet(self.num_concepts, embedding_size, hidden_size, num_layers, dropout)

    def fit_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, with windows of its learners drawn anew."""
        draws = Draws.of(run_seed(), self.current_epoch, batch.learner).at(batch_idx)
        losses = self.window_losses(batch, draws)
        return self.total(losses, len(batch), self.batch_weight(batch))

    def window_losses(self, batch: InteractionBatch, draws: Draws) -> dict[str, Tensor]:
        """Return the losses of next answers and of windows, and the penalty; `draws` of the batch's rows."""
        start = random_starts(batch, self.windows, draws)
        windows = AnswerWindows.of(batch, start, self.window_length)
        logit, place, within = self.net.training_logits(batch, windows)
        return {
            "answers": mean_cross_entropy(logit, batch.correct[:, 1:].flatten()[place]),
            "windows": self.window_weight * mean_cross_entropy(within[windows.live], windows.correct[windows.live]),
            "penalty": self.penalty * self.net.penalty(),
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)
