"""Rules that a teacher could follow by hand: the targets in turn, and what a target lacks first."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.policies.candidates import concept_mask
from lpr_lightning.policies.graph import PrerequisiteGraph
from lpr_lightning.protocols import Act, Actions, Environment, LearnerData
from lpr_lightning.types import PAD, PathRequest, State


@dataclass(frozen=True)
class TargetsInTurn:
    """Recommends the goal's concepts in turn, the least practised first, whatever the answers.

    The next concept is the one that the path has least often; of equals the one that the history has least often, then
    the one of the lowest number. Among questions the one on it that the path has least often. Concepts that no action
    is on are passed over; where the goal has none that can be practised, all concepts take their turn.

    State: how often the history has each concept [B, N], and the path each action [B, A].

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> from lpr_lightning.simulators.rollout import rollout
    >>> ladder = Ladder(4)
    >>> rollout(ladder, Targets(), ladder.request(targets=[[1, 3]], length=3), TargetsInTurn()).action
    tensor([[1, 3, 1]])
    """

    name = "targets_in_turn"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Count the answers of the histories on each concept."""
        history, simulator = request.history, environment.simulator
        counted = (history.mask[..., None] & (history.concept >= 0)).flatten(1)
        practised = torch.zeros(len(request), simulator.num_concepts, device=counted.device)
        practised = practised.scatter_add(1, history.concept.clamp_min(0).flatten(1), counted.float())
        return practised, _never_asked(simulator.actions, practised)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return an action on the concept whose turn it is."""
        practised, asked = state
        actions = environment.simulator.actions
        there = practicable(actions, practised.shape[1], concept.device)
        wanted = concept_mask(concept, practised.shape[1]) & there
        wanted = torch.where(wanted.any(1, keepdim=True), wanted, there)
        turns = _on_each(actions, asked, practised.shape[1]).masked_fill(~wanted, torch.inf)
        first = turns == turns.amin(1, keepdim=True)
        return Act(least_asked(actions, practised.masked_fill(~first, torch.inf).argmin(1), asked))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Count the actions."""
        return state[0], _counted(state[1], action)


@dataclass(frozen=True)
class PrerequisiteRule:
    """Recommends the weakest concept that the nearest target lacks and whose own prerequisites hold.

    A concept holds from a mastery of `level` m in the model that may be looked into, after the answers that were
    really given. The nearest target is the one with the least missing, sum_j (level - m_j)+ over the target and all its
    ancestors j, of those with something missing; recommended is the weakest of these concepts below the level whose
    direct prerequisites all hold. Where there is no such concept (all hold, or edges form a cycle): the weakest target.

    Differs from a heuristic search: nothing is planned ahead. Among questions the one on the concept that the path has
    least often. State: the path's count of each action [B, A], then the model's.

    Args:
        level: mastery from which a concept holds.
        prerequisites: the graph; default that of the data.

    Raises:
        SettingError: `level` is not in (0, 1].

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> from lpr_lightning.simulators.rollout import rollout
    >>> ladder, rule = Ladder(3), PrerequisiteRule(prerequisites=PrerequisiteGraph([(0, 1), (1, 2)]))
    >>> rollout(ladder, Targets(), ladder.request(targets=[[2]], length=5), rule).action
    tensor([[0, 0, 1, 1, 2]])
    """

    level: float = 0.6
    prerequisites: PrerequisiteGraph = field(default_factory=PrerequisiteGraph)
    name = "prerequisite_rule"

    def __post_init__(self) -> None:
        if not 0 < self.level <= 1:
            raise SettingError("level", self.level, "a mastery above 0 and up to 1")

    def connect(self, data: LearnerData) -> None:
        """Take the graph of the data."""
        self.prerequisites.connect(data)

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the model's states after the histories."""
        state = environment.simulator.start(request)
        return _never_asked(environment.simulator.actions, state[0]), *state

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return an action on what the nearest target lacks first."""
        mastery = environment.simulator.mastery(state[1:])
        actions, size = environment.simulator.actions, mastery.shape[1]
        there = practicable(actions, size, concept.device)
        return Act(least_asked(actions, self.wanted(mastery, concept, there), state[0]))

    def wanted(self, mastery: Tensor, concept: Tensor, practicable: Tensor) -> Tensor:
        """Return the concept to practise, [B], given mastery [B, N], targets [B, M], and what can be practised [N]."""
        size, device = mastery.shape[1], mastery.device
        lacks = mastery < self.level
        short = torch.where(lacks, self.level - mastery, 0.0)
        closure = self.prerequisites.closure(size, device)[concept.clamp_min(0)]  # [B, M, N]
        missing = (closure.float() @ short[..., None]).squeeze(2)
        missing = missing.masked_fill((concept < 0) | (missing <= 0), torch.inf)
        short_of, nearest = missing.min(1)
        blocked = lacks.float() @ self.prerequisites.needs(size, device).float().T > 0
        free = closure.gather(1, nearest[:, None, None].expand(-1, 1, size)).squeeze(1) & lacks & ~blocked & practicable
        free = free & short_of.isfinite()[:, None]
        target = concept_mask(concept, size) & practicable
        target = torch.where(target.any(1, keepdim=True), target, practicable)
        tried = torch.where(free.any(1, keepdim=True), free, target)
        return mastery.masked_fill(~tried, torch.inf).argmin(1)

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Count the actions, and let the model observe the answers."""
        simulator = environment.simulator
        return _counted(state[0], action), *simulator.observe(state[1:], simulator.actions.at(action), correct)


def practicable(actions: Actions, num_concepts: int, device: torch.device) -> Tensor:
    """Return which concepts any action is on, [N] bool."""
    concept = actions.at(torch.arange(len(actions), device=device)).concept.flatten()
    return concept_mask(concept[None], num_concepts)[0]


def least_asked(actions: Actions, wanted: Tensor, asked: Tensor) -> Tensor:
    """Return the action on the concepts wanted [B] that was asked least often, [B]; `asked` [B, A] counts."""
    concept = actions.at(torch.arange(len(actions), device=wanted.device)).concept
    on_it = (concept == wanted[:, None, None]).any(2)
    return asked.masked_fill(~on_it, torch.inf).argmin(1)


def _never_asked(actions: Actions, like: Tensor) -> Tensor:
    return torch.zeros(len(like), len(actions), device=like.device)


def _counted(asked: Tensor, action: Tensor) -> Tensor:
    return asked.scatter_add(1, action.clamp_min(0)[:, None], (action != PAD)[:, None].to(asked))


def _on_each(actions: Actions, asked: Tensor, num_concepts: int) -> Tensor:
    """Return how often each concept was asked by actions, [B, N], from counts of actions [B, A]."""
    concept = actions.at(torch.arange(asked.shape[1], device=asked.device)).concept
    counts = asked.new_zeros(len(asked), num_concepts + 1)
    for one in concept.unbind(1):
        counts = counts.index_add(1, one + 1, asked)
    return counts[:, 1:]
