"""Deep knowledge tracing."""

from __future__ import annotations

import torch

from lpr_lightning.bases.tracer import TracerModule
from lpr_lightning.errors import checked, checked_positive
from lpr_lightning.hparams import arguments
from lpr_lightning.nets.dkt import DKTNet


class DKT(TracerModule):
    """Predicts each next answer from all earlier ones by an LSTM over (concept, answer) pairs (Piech et al. 2015).

    Differs from the paper:
    1. The one-hot input is an embedding followed by the LSTM's input product.
    2. An answer on several concepts is one input (the mean of their embeddings) and one prediction (the mean of their
       logits), never several rows, so that no answer is seen before it is predicted.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        embedding_size: width of the interaction embedding.
        hidden_size: width of the LSTM state.
        num_layers: LSTM layers.
        dropout: on the output, in [0, 1).
        learning_rate: of Adam.
        weight_decay: of Adam.

    Raises:
        SettingError: a setting is out of range.

    >>> from lpr_lightning.types import Exercise
    >>> tracer = DKT(num_concepts=4).eval()
    >>> asked = Exercise.of_concepts(torch.tensor([0, 3]))
    >>> state = tracer.observe(tracer.initial_state(2), asked, torch.tensor([1.0, 0.0]))
    >>> tracer.mastery(state).shape
    torch.Size([2, 4])
    """

    net: DKTNet

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
        super().__init__(num_concepts)
        self.save_hyperparameters(arguments(locals()))
        for name, size in (
            ("embedding_size", embedding_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
        ):
            checked(name, size, 1)
        checked("dropout", dropout, 0.0, 1.0)
        self.learning_rate = checked_positive("learning_rate", learning_rate)
        self.weight_decay = checked("weight_decay", weight_decay, 0.0)
        self.net = DKTNet(self.num_concepts, embedding_size, hidden_size, num_layers, dropout)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)
