"""Policies that plan whole paths: given ones, planned once, or planned anew after each answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.protocols import Act, Environment, Goal, Simulator
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import PAD, InteractionBatch, PathRequest, Rollout, State

PARTS, LEFT = 8, 5
"""Number of tensors in a request as a state, and which of them is the length that is left."""


class Follows:
    """What policies that follow whole paths share; their state begins with that of `start_of`."""

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the next action of each path."""
        return follow(state)

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Go on by one step."""
        return went_on(state)


@dataclass(frozen=True)
class FixedPaths(Follows):
    """A policy that follows given paths [B, L] of actions, -1 after their end, whatever the answers.

    Raises:
        SettingError: (when it begins) there is not one path for each request.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(2)
    >>> request = ladder.request(targets=[[1]], length=2)
    >>> rollout(ladder, Targets(), request, FixedPaths(torch.tensor([[0, 1]]))).mastery_after
    tensor([[0.5000, 0.5000]])
    """

    path: Tensor
    name: str = "fixed"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the paths and how far they were followed."""
        if len(self.path) != len(request):
            raise SettingError("path", tuple(self.path.shape), f"{len(request)} rows, one for each request")
        return start_of(self.path)


class Planner(Protocol):
    """Something that plans a whole path for a request."""

    def plan(self, request: PathRequest) -> Tensor:
        """Return one path for each request, [B, L] int64, -1 after its end."""
        ...


@dataclass(frozen=True)
class Planned(Follows):
    """A policy that plans a path once and follows it to its end, whatever the answers.

    Args:
        planner: what plans.
        name: of the policy.
    """

    planner: Planner
    name: str = "planned"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the planned paths."""
        return start_of(self.planner.plan(request))


@dataclass(frozen=True)
class Replan:
    """A policy that plans anew after each answer, with the answers so far as further history.

    The wanted length falls by one with each step; the path ends where nothing of it is left, or where the planner ends
    it.
    State: the history with the answers on the path, targets, what is left, learner and row.

    Args:
        planner: what plans.
        name: of the policy.
    """

    planner: Planner
    name: str = "replanned"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the history and what is wanted."""
        return _state(request)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the first step of a new path."""
        path = self.planner.plan(_request(state))
        action = path[:, 0] if path.shape[1] else torch.full_like(state[LEFT], PAD)
        return Act(action.masked_fill(state[LEFT] == 0, PAD))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Add the answers to the histories."""
        return _answered(environment, state, action, correct)


class NextStep(Protocol):
    """Something that chooses the next step of a path that is still to be gone."""

    def next_step(self, request: PathRequest, mastery: Tensor | None) -> Tensor:
        """Return an action for each request, [B] int64, -1 to end the path, given estimated mastery [B, N]."""
        ...


@dataclass(frozen=True)
class ClosedLoop:
    """A policy that chooses each step anew, given all answers so far: `Replan` for what need not plan a whole path.

    The estimate of the learners' mastery is carried from answer to answer, so that a step costs the same however long
    the history is. State: that of `Replan`, then the estimator's.

    Args:
        chooser: what chooses.
        estimator: a model of the learners whose estimates are handed on; None for none.
        name: of the policy.
    """

    chooser: NextStep
    estimator: Simulator | None = None
    name: str = "closed_loop"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the history, what is wanted, and the estimator's states."""
        known = () if self.estimator is None else self.estimator.start(request)
        return *_state(request), *known

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the next step."""
        mastery = None if self.estimator is None else self.estimator.mastery(state[PARTS:])
        action = self.chooser.next_step(_request(state[:PARTS]), mastery)
        return Act(action.masked_fill(state[LEFT] == 0, PAD))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Add the answers to the histories, and let the estimator observe them."""
        known = state[PARTS:]
        if self.estimator is not None:
            known = self.estimator.observe(known, environment.simulator.actions.at(action), correct)
        return *_answered(environment, state[:PARTS], action, correct), *known


def _state(request: PathRequest) -> State:
    history = request.history
    return (
        *(history.concept, history.item, history.correct, history.mask),
        *(request.targets, request.length, request.learner, request.row),
    )


def _answered(environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
    """Return the state of requests with one answer more in their histories."""
    asked = environment.simulator.actions.at(action)
    history = _request(state).history
    answers = InteractionBatch(
        asked.concept[:, None], asked.item[:, None], correct[:, None], (action != PAD)[:, None], history.learner
    )
    longer = history.then(answers)
    left = torch.where(action == PAD, state[LEFT], state[LEFT] - 1)
    return longer.concept, longer.item, longer.correct, longer.mask, state[4], left, *state[6:]


def _request(state: State) -> PathRequest:
    concept, item, correct, mask, targets, length, learner, row = state
    return PathRequest(InteractionBatch(concept, item, correct, mask, learner), targets, length, learner, row)


def start_of(path: Tensor) -> State:
    """Return the state of a policy that follows paths [B, L] from their first step."""
    return path, torch.zeros_like(path[:, 0]) if path.shape[1] else path.new_zeros(len(path))


def follow(state: State) -> Act:
    """Return the next actions of such a policy; -1 behind the end."""
    path, place = state[0], state[1]
    if not path.shape[1]:
        return Act(torch.full_like(place, PAD))
    action = path.gather(1, place.clamp_max(path.shape[1] - 1)[:, None]).squeeze(1)
    return Act(action.masked_fill(place >= path.shape[1], PAD))


def went_on(state: State) -> State:
    """Return its state one step later."""
    return state[0], state[1] + 1, *state[2:]


def follow_paths(
    simulator: Simulator,
    goal: Goal,
    request: PathRequest,
    path: Tensor,
    draws: Draws | None = None,
    group_size: int = 1,
    early_stop: bool = False,
) -> Rollout:
    """Let each learner of `request` (B) follow its `group_size` fixed paths (`path` [B * K, L], -1 after the end).

    Raises:
        SettingError: there are not `group_size` paths for each request.
    """
    if path.shape[0] != len(request) * group_size:
        allowed = f"{len(request) * group_size} rows, group_size paths for each request"
        raise SettingError("path", tuple(path.shape), allowed)
    grouped = path.reshape(len(request), -1) if len(request) else path.new_empty(0, path.shape[1])
    policy = _Grouped(grouped, path.shape[1])
    return rollout(simulator, goal, request, policy, draws, group_size, path.shape[1], early_stop)


@dataclass(frozen=True)
class _Grouped(Follows):
    """Follows K paths of each request, which stand one after the other in a row of `path` [B, K * L]."""

    path: Tensor
    length: int
    name: str = "fixed"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the paths of each request, and how far they were followed; each copy takes another of them."""
        return start_of(self.path)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the next action of each path."""
        rows, place = state
        copy = torch.arange(len(place), device=place.device) % max(rows.shape[1] // max(self.length, 1), 1)
        return Act(rows.gather(1, (copy * self.length + place)[:, None]).squeeze(1))
