"""Performance factors: logistic regression that tells evidence from growth."""

from __future__ import annotations

from lpr_lightning.bases.growth_tracer import SmoothGrowthTracer
from lpr_lightning.hparams import arguments
from lpr_lightning.nets.performance_factors import PerformanceFactorsNet


class PerformanceFactors(SmoothGrowthTracer):
    """Predicts each next answer by counts of practice and by earlier residuals (after Pavlik et al. 2009, PFA).

    A handful of numbers for each concept, fitted in seconds; see `PerformanceFactorsNet` for the equation.

    Differs from the paper:
    1. Right and wrong answers are not two counts: how right they were is evidence (shrunk mean residuals, of the
       concept and of all answers), how many they were is growth. In an episode only the latter moves, so that a search
       cannot gain by what answers would say about the learner.
    2. Growth is logarithmic in the count, and gated by the prerequisites where the data have them.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        gate: let growth on a concept through only as far as its prerequisites hold.
        penalty: weight of the summed squared differences between the concepts' learning rates.
        iterations: of L-BFGS on each batch.

    Raises:
        SettingError: a setting is out of range.

    >>> import torch
    >>> from lpr_lightning.types import Exercise
    >>> tracer = PerformanceFactors(num_concepts=4).eval()
    >>> asked = Exercise.of_concepts(torch.tensor([0, 3]))
    >>> tracer.mastery(tracer.practise(tracer.initial_state(2), asked, torch.tensor([1.0, 0.0])))[:, 0]
    tensor([0.5518, 0.5000], grad_fn=<SelectBackward0>)
    """

    net: PerformanceFactorsNet

    def __init__(
        self, num_concepts: int | None = None, gate: bool = True, penalty: float = 1e-3, iterations: int = 50
    ) -> None:
        super().__init__(num_concepts, gate, penalty, iterations)
        self.save_hyperparameters(arguments(locals()))
        self.net = PerformanceFactorsNet(self.num_concepts)
