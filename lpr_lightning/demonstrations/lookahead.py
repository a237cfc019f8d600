"""Branching a learner's state: what each of several next concepts would lead to.

Every simulator can be searched through its four calls alone. One that can do better says so by the two optional
protocols here, which share work among the branches of one state.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from lpr_lightning.simulators.rollout import repeat_state
from lpr_lightning.types import Simulator, SimulatorState


@runtime_checkable
class Lookahead(Protocol):
    """A simulator that tries many next concepts on one state cheaply."""

    def lookahead(self, state: SimulatorState, concept: Tensor) -> tuple[SimulatorState, Tensor, Tensor]:
        """Return the states of B * A rows after each of `concept` [B, A]; answers and probabilities [B, A]."""
        ...


@runtime_checkable
class Assessment(Protocol):
    """A simulator that reads only what a search needs of a state, in one go."""

    def assess(self, state: SimulatorState, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean target mastery, exam score and best possible score, [B * G] each.

        `state` has B * G rows, G side by side for each row of `targets` [B, N].
        """
        ...


def look_ahead(simulator: Simulator, state: SimulatorState, concept: Tensor) -> tuple[SimulatorState, Tensor, Tensor]:
    """Return the states of B * A rows after each of `concept` [B, A], with answers and probabilities [B, A].

    >>> import torch
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(2)
    >>> state = ladder.start(ladder.request(targets=[[1]], length=1))
    >>> look_ahead(ladder, state, torch.tensor([[0, 1]]))[0]
    (tensor([[0.5000, 0.0000],
            [0.0000, 0.0000]]),)
    """
    if isinstance(simulator, Lookahead):
        return simulator.lookahead(state, concept)
    state, answer, probability = simulator.step(repeat_state(state, concept.shape[1]), concept.flatten())
    return state, answer.view_as(concept), probability.view_as(concept)


def assess(simulator: Simulator, state: SimulatorState, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean target mastery, exam score and best possible score of B * G states, G for each row of `targets`.

    >>> import torch
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> assess(Ladder(2), (torch.tensor([[1.0, 0.4], [1.0, 0.0]]),), torch.tensor([[True, True]]))
    (tensor([0.7000, 0.5000]), tensor([1., 1.]), tensor([2., 2.]))
    """
    if isinstance(simulator, Assessment):
        return simulator.assess(state, targets)
    mastery = simulator.mastery(state)
    targets = targets.repeat_interleave(mastery.shape[0] // max(targets.shape[0], 1), 0)
    mean = (mastery * targets).sum(1) / targets.sum(1).clamp_min(1)
    return mean, *simulator.exam(state, targets)


def select_rows(state: SimulatorState, index: Tensor) -> SimulatorState:
    """Return copies of the rows at `index` of every tensor of a state."""
    return tuple(part.index_select(0, index) for part in state)
