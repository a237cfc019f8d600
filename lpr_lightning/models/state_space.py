"""State-space growth: a filtered belief about levels, and growth by practice."""

from __future__ import annotations

from lpr_lightning.bases.growth_tracer import SmoothGrowthTracer
from lpr_lightning.errors import checked
from lpr_lightning.hparams import arguments
from lpr_lightning.nets.state_space import StateSpaceNet


class StateSpaceGrowth(SmoothGrowthTracer):
    """Follows a learner's levels by an extended Kalman filter over correlated concepts, and their growth by practice.

    After T-SKIRT (Ekanadham and Karklin 2017, arXiv 1702.04282), an item response model whose correlated proficiencies
    change in time and are estimated online.

    Differs from the paper:
    1. Levels have a Gaussian prior mu + U U' + diag d whose posterior after each answer is held exactly.
    2. Change is growth by practice: a learned amount that depends on level, repetition and answer, and that is gated by
       the concept's prerequisites where the data have them; see `StateSpaceNet`.
    3. Everything is trained through the filter on next answers. Questions are ignored.
    4. In an episode the belief stays; only growth moves.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        factors: of the correlation between concepts.
        gate: let growth on a concept through only as far as its prerequisites hold.
        penalty: weight of the summed squared differences between the concepts' weights, and of the shared numbers from
            their start.
        iterations: of L-BFGS on each batch; few, so that validation sees when it goes too far.

    Raises:
        SettingError: a setting is out of range.

    >>> import torch
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
        penalty: float = 2e-4,
        iterations: int = 10,
    ) -> None:
        super().__init__(num_concepts, gate, penalty, iterations)
        self.save_hyperparameters(arguments(locals()))
        self.net = StateSpaceNet(self.num_concepts, checked("factors", factors, 1))
