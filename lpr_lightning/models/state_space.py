"""State-space growth: a filtered belief about levels, and growth by practice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from lpr_lightning.bases.growth_tracer import GrowthTracer
from lpr_lightning.bases.staged import Stage, checked
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments
from lpr_lightning.nets.state_space import StateSpaceNet


class StateSpaceGrowth(GrowthTracer):
    """Follows a learner's levels by an extended Kalman filter over correlated concepts, and their growth by practice.

    After Ekanadham and Karklin (2015, arXiv 1505.04409, T-SKIRT), whose concepts' levels are a Gaussian state, filtered
    from answers.

    Differs from the paper:
    1. Levels are correlated by factors, prior mu + U U' + diag d, and the posterior is exact in R^2 + R + 3 N numbers.
    2. Growth is no drift of the state: practice of a concept grows it by a learned amount that depends on level,
       repetition and answer, and is gated by its prerequisites where the data have them; see `StateSpaceNet`.
    3. Everything is trained by gradient descent through the filter on the next answers, not by expectation
       maximisation.
    4. In an episode the belief stays; only growth moves.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        factors: of the correlation between concepts.
        gate: let growth on a concept through only as far as its prerequisites hold.
        penalty: weight of the summed squared differences between the concepts' learning rates.
        learning_rate: of Adam at the beginning; it falls to 0 along half a cosine.

    Raises:
        SettingError: a setting is out of range.

    >>> from lpr_lightning.types import Exercise
    >>> tracer = StateSpaceGrowth(num_concepts=4).eval()
    >>> asked, state = Exercise.of_concepts(torch.tensor([0])), tracer.initial_state(1)
    >>> bool((tracer.mastery(tracer.practise(state, asked, torch.zeros(1))) > tracer.mastery(state))[0, 0])
    True
    """

    net: StateSpaceNet

    def __init__(
        self,
        num_concepts: int | None = None,
        factors: int = 6,
        gate: bool = True,
        penalty: float = 2e-3,
        learning_rate: float = 3e-2,
    ) -> None:
        super().__init__(num_concepts, gate, checked("penalty", penalty, 0.0))
        self.save_hyperparameters(arguments(locals()))
        if learning_rate <= 0:
            raise SettingError("learning_rate", learning_rate, "a number above 0")
        self.learning_rate = learning_rate
        self.net = StateSpaceNet(self.num_concepts, checked("factors", factors, 1))

    def stages(self) -> Sequence[Stage]:
        """Return the only stage, whose learning rate falls."""
        rates = {"all": self.learning_rate}
        return [Stage("training", self.fit_step, rates, schedule=_cosine, select=lambda figures: figures["auc"])]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam([{"name": "all", "params": self.trained()}], self.learning_rate)


def _cosine(share: float, _: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))
