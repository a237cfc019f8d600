"""Plain policies against what they say they do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.goals import ConceptGoal, Targets
from lpr_lightning.hparams import built, plain
from lpr_lightning.policies import (
    BeamSearch,
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
from lpr_lightning.protocols import Policy
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.simulators.true_learners import TrueLearners
from lpr_lightning.types import PathRequest

POLICIES: list[Policy] = [
    RandomPaths(),
    RandomTargets(),
    DKTRec(),
    TargetsInTurn(),
    NearestTarget(level=0.7),
    PrerequisiteRule(0.5, PrerequisiteGraph([(0, 1), (1, 3)])),
    Oracle(width=3, candidates=ClosureActions(0.9, PrerequisiteGraph([(0, 1)]))),
    GreedySearch(),
    BeamSearch(width=2),
    GeneticSearch(population=4, generations=1),
]


def paths(policy: Policy, ladder: Ladder, request: PathRequest, goal: ConceptGoal | None = None) -> Tensor:
    return rollout(ladder, goal or Targets(), request, policy).action


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_every_policy_gives_paths_of_the_wanted_lengths_and_can_be_configured(policy: Policy) -> None:
    ladder = Ladder(5)
    request = replace(ladder.request(targets=[[1, 3], [4], []], length=3), length=torch.tensor([3, 1, 2]))
    path = paths(policy, ladder, request)
    assert path.dtype == torch.int64
    assert (path >= 0).sum(1).tolist() == [3, 1, 2]
    assert path[1, 1:].tolist() == [-1, -1]
    assert int(path.max()) < 5
    assert torch.equal(paths(policy, ladder, request), path)
    described = plain(policy)
    assert isinstance(described, dict)
    assert built(described, Policy) == policy
    assert paths(policy, ladder, request.select(torch.tensor([], dtype=torch.int64))).shape == (0, 0)


def test_names_are_distinct() -> None:
    assert len({policy.name for policy in POLICIES}) == len(POLICIES)


def test_random_paths_are_even_and_depend_on_the_seed_and_rows() -> None:
    ladder = Ladder(4)
    request = ladder.request(targets=[[0]] * 2000, length=5)
    path = paths(RandomPaths(seed=1), ladder, request)
    share = torch.bincount(path.flatten(), minlength=4) / path.numel()
    torch.testing.assert_close(share, torch.full((4,), 0.25), atol=0.02, rtol=0)
    assert not torch.equal(path, paths(RandomPaths(seed=2), ladder, request))
    assert not torch.equal(path, paths(RandomPaths(seed=1), ladder, replace(request, row=request.row + 2000)))
    few = torch.tensor([7, 3])
    assert torch.equal(path[few], paths(RandomPaths(seed=1), ladder, request.select(few)))


def test_random_targets_are_targets() -> None:
    ladder = Ladder(6)
    path = paths(RandomTargets(), ladder, ladder.request(targets=[[1, 4]] * 50, length=8))
    assert set(path.flatten().tolist()) == {1, 4}


def test_random_targets_of_learners_without_any_are_drawn_from_all() -> None:
    ladder = Ladder(3)
    path = paths(RandomTargets(), ladder, ladder.request(targets=[[]] * 50, length=8))
    assert set(path.flatten().tolist()) == {0, 1, 2}


def test_random_targets_among_questions_are_those_on_targets() -> None:
    learners = TrueLearners(num_concepts=5, num_items=20, num_learners=3)
    bank = QuestionActions(20)
    bank.item_concepts = learners.item_concept[:, None]
    learners.action_set = bank
    request = Ladder(5).request(targets=[[1, 4]] * 50, length=8)
    path = rollout(learners, Targets(), request, RandomTargets()).action
    assert set(path.flatten().tolist()) == {item for item in range(20) if item % 5 in (1, 4)}


def test_dktrec_takes_the_probability_nearest_one_half_at_each_step() -> None:
    ladder = Ladder(3, gain=0.3)
    request = ladder.request(targets=[[2]], length=6)
    state, expected = ladder.start(request), []
    for _ in range(6):
        concept = (ladder.mastery(state)[0] - 0.5).abs().argmin()[None]
        expected.append(int(concept))
        asked = ladder.actions.at(concept)
        state = ladder.practise(state, asked, ladder.respond(ladder.predict(state, asked), None))
    assert paths(DKTRec(), ladder, request).tolist() == [expected]


def test_the_nearest_target_is_nearest_to_the_level_after_the_answers_so_far() -> None:
    ladder = Ladder(3, gain=0.3)
    request = ladder.request(targets=[[1, 2]], length=6)
    state, expected = ladder.start(request), []
    for _ in range(6):
        success = ladder.mastery(state)[0].tolist()
        concept = torch.tensor([min((1, 2), key=lambda one: abs(success[one] - 0.4))])
        expected.append(int(concept))
        asked = ladder.actions.at(concept)
        state = ladder.practise(state, asked, ladder.respond(ladder.predict(state, asked), None))
    assert paths(NearestTarget(level=0.4), ladder, request).tolist() == [expected]


def test_levels_are_probabilities() -> None:
    with pytest.raises(SettingError, match="level"):
        NearestTarget(level=1.5)
