"""`check_policy` passes policies that follow the rules and names the rule that a broken one breaks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from lpr_lightning.checks import BrokenRule, check_policy
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import Targets
from lpr_lightning.policies import (
    BeamSearch,
    ChainValue,
    ClosureActions,
    DKTRec,
    GeneticSearch,
    GreedySearch,
    NearestTarget,
    Oracle,
    PrerequisiteGraph,
    PrerequisiteRule,
    RandomPaths,
    RandomTargets,
    TargetsInTurn,
)
from lpr_lightning.protocols import Act, Environment, Policy
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import PathRequest, State

LADDER = Ladder(4, gain=0.3)
GRAPH = PrerequisiteGraph([(0, 1), (1, 2), (2, 3)])


def environment() -> Environment:
    return Environment(LADDER, Targets())


def request() -> PathRequest:
    plain = LADDER.request(targets=[[0], [1, 2], [3], [0, 3], [2]], length=3)
    return replace(plain, length=torch.tensor([3, 1, 2, 3, 0]))


@dataclass
class Sampler:
    """Draws actions evenly where it is given draws, else takes the one after the last; state: the last action."""

    name: str = "sampler"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        return (torch.zeros_like(request.row),)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        size = len(environment.simulator.actions)
        action = (state[0] + 1) % size if draws is None else draws.integers(size)
        return Act(action, torch.zeros(len(action)))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        return (torch.where(action < 0, state[0], action),)


class TooFar(Sampler):
    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        return Act(state[0] + 4)


class Floats(Sampler):
    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        return Act(state[0].float())


class Impossible(Sampler):
    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        return Act(state[0], torch.full((len(state[0]),), -torch.inf))


class OneRow(Sampler):
    def begin(self, environment: Environment, request: PathRequest) -> State:
        return *super().begin(environment, request), torch.zeros(1)


class Ungrouped(Sampler):
    """Remembers how many requests there were."""

    count = 0

    def begin(self, environment: Environment, request: PathRequest) -> State:
        self.count = len(request)
        return super().begin(environment, request)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        return Act(torch.zeros(self.count, dtype=torch.int64))


class GlobalChance(Sampler):
    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        return (
            Act(torch.randint(4, state[0].shape)) if draws is None else super().act(environment, state, concept, draws)
        )


class IgnoresDraws(Sampler):
    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        return (
            super().act(environment, state, concept, None) if draws is None else Act(torch.randint(4, state[0].shape))
        )


class InPlace(Sampler):
    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        return (state[0].add_(1),)


class CountsCalls(Sampler):
    """Counts its actions outside the state, anew from each beginning."""

    count = 0

    def begin(self, environment: Environment, request: PathRequest) -> State:
        self.count = 0
        return super().begin(environment, request)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        self.count += 1
        return Act((state[0] + self.count) % 4)


class Sociable(Sampler):
    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        return Act((state[0] + int(len(state[0]) > 1)) % 4)


class SharedDraws(Sampler):
    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        shared = None if draws is None else draws.select(torch.zeros_like(draws.key))
        return super().act(environment, state, concept, shared)


@dataclass
class MindsEnded(Sampler):
    """Changes its actions once another row has ended before it, which company alone shows where lengths differ."""

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        ended = (action < 0).float().mean() if len(action) > 1 else torch.zeros(())
        return (torch.where(action < 0, state[0], action + (ended > 0.3).long()),)


@pytest.mark.parametrize(
    "policy",
    [
        Sampler(),
        RandomPaths(),
        RandomTargets(),
        DKTRec(),
        TargetsInTurn(),
        NearestTarget(),
        PrerequisiteRule(prerequisites=GRAPH),
        Oracle(4, value=ChainValue(prerequisites=GRAPH), candidates=ClosureActions(prerequisites=GRAPH)),
        GreedySearch(),
        GreedySearch(replan=True),
        BeamSearch(width=2),
        BeamSearch(width=2, replan=True),
        GeneticSearch(population=4, generations=1),
        GeneticSearch(population=4, generations=1, replan=True),
    ],
    ids=lambda policy: policy.name,
)
def test_good_policies_pass(policy: Policy) -> None:
    check_policy(policy, environment(), request())


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        (TooFar(), "ranges"),
        (Floats(), "ranges"),
        (Impossible(), "ranges"),
        (OneRow(), "ranges"),
        (Ungrouped(), "ranges"),
        (GlobalChance(), "determinism"),
        (IgnoresDraws(), "draws"),
        (InPlace(), "no state leak"),
        (CountsCalls(), "no state leak"),
        (Sociable(), "batch independence"),
        (SharedDraws(), "batch independence"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Sampler) else "",
)
def test_broken_policies_are_named(policy: Sampler, rule: str) -> None:
    with pytest.raises(BrokenRule) as caught:
        check_policy(policy, environment(), request())
    assert caught.value.rule == rule


def test_a_policy_that_minds_ended_rows_is_named() -> None:
    alike = replace(request(), length=torch.full((5,), 3))
    with pytest.raises(BrokenRule) as caught:
        check_policy(MindsEnded(), environment(), alike)
    assert caught.value.rule == "ended rows"


def test_one_learner_is_too_few() -> None:
    with pytest.raises(SettingError, match="two learners"):
        check_policy(Sampler(), environment(), request().select(torch.tensor([0])))
