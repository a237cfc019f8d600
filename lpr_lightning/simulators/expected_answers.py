"""Learners who answer by expectation, in the place of those who answer by chance."""

from __future__ import annotations

from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.protocols import Simulator
from lpr_lightning.simulators.kes import KESSimulator


class ExpectedAnswers:
    """Learners who answer with the probability of success itself: what is to be expected of one that draws answers."""

    def __init__(self, learners: Simulator) -> None:
        self.num_concepts, self.actions = learners.num_concepts, learners.actions
        self.start, self.predict, self.mastery = learners.start, learners.predict, learners.mastery
        self.practise, self.observe = learners.practise, learners.observe

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        """Return the probabilities."""
        return probability


def expected_answers(learners: Simulator) -> Simulator:
    """Return learners who answer by expectation where these draw their answers; else these themselves."""
    return (
        ExpectedAnswers(learners)
        if isinstance(learners, KESSimulator) and learners.response == "bernoulli"
        else learners
    )
