"""Which actions a policy or a search may take: all, those on targets, those on targets and what these build on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.policies.graph import PrerequisiteGraph
from lpr_lightning.protocols import Actions, Environment, LearnerData
from lpr_lightning.types import State


class Candidates(ABC):
    """Says which actions are tried; learners for whom none would be left may take all."""

    @abstractmethod
    def concepts(self, environment: Environment, state: State, concept: Tensor) -> Tensor:
        """Return the concepts that may be practised, [B, N] bool, given states and the goal's concepts [B, M]."""

    def allowed(self, environment: Environment, state: State, concept: Tensor) -> Tensor:
        """Return the actions that may be taken, [B, A] bool."""
        actions = environment.simulator.actions
        found = on_concepts(actions, self.concepts(environment, state, concept))
        return found | ~found.any(1, keepdim=True)


@dataclass(frozen=True)
class AllActions(Candidates):
    """Every action."""

    def concepts(self, environment: Environment, state: State, concept: Tensor) -> Tensor:
        """Return all concepts."""
        return torch.ones(len(concept), environment.simulator.num_concepts, dtype=torch.bool, device=concept.device)

    def allowed(self, environment: Environment, state: State, concept: Tensor) -> Tensor:
        """Return all actions, also those on no concept."""
        return torch.ones(len(concept), len(environment.simulator.actions), dtype=torch.bool, device=concept.device)


@dataclass(frozen=True)
class TargetActions(Candidates):
    """Actions on the goal's concepts."""

    def concepts(self, environment: Environment, state: State, concept: Tensor) -> Tensor:
        """Return the goal's concepts."""
        return concept_mask(concept, environment.simulator.num_concepts)


@dataclass(frozen=True)
class ClosureActions(Candidates):
    """Actions on the goal's concepts, and on what these build on where the learner does not master it yet.

    Args:
        below: mastery, in the model that may be looked into, from which an ancestor is left out.
        prerequisites: the graph; default that of the data.

    Raises:
        SettingError: `below` is not in (0, 1].

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(4)
    >>> request = ladder.request(targets=[[2]], length=3)
    >>> candidates = ClosureActions(prerequisites=PrerequisiteGraph([(0, 1), (1, 2), (2, 3)]))
    >>> candidates.allowed(Environment(ladder, Targets()), ladder.start(request), torch.tensor([[2]]))
    tensor([[ True,  True,  True, False]])
    """

    below: float = 0.8
    prerequisites: PrerequisiteGraph = field(default_factory=PrerequisiteGraph)

    def __post_init__(self) -> None:
        if not 0 < self.below <= 1:
            raise SettingError("below", self.below, "a mastery above 0 and up to 1")

    def connect(self, data: LearnerData) -> None:
        """Take the graph of the data."""
        self.prerequisites.connect(data)

    def concepts(self, environment: Environment, state: State, concept: Tensor) -> Tensor:
        """Return the goal's concepts and their ancestors below the threshold."""
        simulator = environment.simulator
        target = concept_mask(concept, simulator.num_concepts)
        needed = (target.float() @ self.prerequisites.ancestors(simulator.num_concepts, concept.device).float()) > 0
        return target | (needed & (simulator.mastery(state) < self.below))


def concept_mask(concept: Tensor, num_concepts: int) -> Tensor:
    """Return True on the concepts [B, M] (-1 where unused), [B, N] bool.

    >>> concept_mask(torch.tensor([[2, -1], [0, 1]]), 3)
    tensor([[False, False,  True],
            [ True,  True, False]])
    """
    mask = torch.zeros(len(concept), num_concepts + 1, dtype=torch.bool, device=concept.device)
    return mask.scatter(1, concept + 1, True)[:, 1:]


def on_concepts(actions: Actions, wanted: Tensor) -> Tensor:
    """Return which actions are on any of the wanted concepts [B, N] bool, [B, A] bool."""
    every = torch.arange(len(actions), device=wanted.device)
    none = torch.zeros_like(wanted[:, :1])
    return torch.cat([none, wanted], 1)[:, actions.at(every).concept + 1].any(2)
