"""Simple rules against what they say, concept by concept and learner by learner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lpr_lightning.checks import check_policy
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import Targets, WeakestConcept
from lpr_lightning.policies import PrerequisiteGraph, PrerequisiteRule, TargetsInTurn
from lpr_lightning.protocols import Connected, Environment, Policy
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.simulators.true_learners import TrueLearners
from lpr_lightning.types import Interactions, PathRequest

EDGES = [(0, 1), (1, 2), (3, 2), (2, 4), (5, 6), (6, 5)]  # 5 and 6 need each other


@dataclass
class Estimated(Ladder):
    """A model whose mastery of everybody is given and never changes."""

    estimate: Tensor | None = None

    def mastery(self, state: tuple[Tensor, ...], concept: Tensor | None = None) -> Tensor:
        assert self.estimate is not None
        return super().mastery((self.estimate,), concept)


def request(
    targets: list[list[int]], histories: list[list[tuple[int, int]]], concepts: int, length: int
) -> PathRequest:
    plain = Ladder(concepts).request(targets, length)
    return replace(plain, history=Interactions.from_lists(histories).batch(torch.arange(len(targets))))


def test_targets_take_turns_the_least_practised_first() -> None:
    """Practised 3, 1 and 0 times: first 4, then 1, then 0, and again."""
    asked = request([[0, 1, 4], [2, 3]], [[(0, 1), (1, 1), (0, 0), (0, 1)], [(3, 0), (2, 1)]], 5, 7)
    path = rollout(Ladder(5), Targets(), asked, TargetsInTurn()).action
    assert path.tolist() == [[4, 1, 0, 4, 1, 0, 4], [2, 3, 2, 3, 2, 3, 2]]


def test_an_answer_counts_for_its_own_concepts_alone() -> None:
    """The unused place beside concept 1 is no answer on concept 0."""
    asked = request([[0, 1]], [[(1, 1), (2, 1)]], 3, 1)
    history = replace(asked.history, concept=torch.tensor([[[1, -1], [2, -1]]]))
    path = rollout(Ladder(3), Targets(), replace(asked, history=history), TargetsInTurn()).action
    assert path.tolist() == [[0]]


def test_without_targets_all_concepts_take_turns() -> None:
    path = rollout(Ladder(3), Targets(), request([[]], [[(0, 1)]], 3, 4), TargetsInTurn()).action
    assert path.tolist() == [[1, 2, 0, 1]]


def bank(concepts: list[list[int]]) -> QuestionActions:
    actions = QuestionActions(len(concepts))
    actions.item_concepts = torch.tensor(concepts)
    return actions


def test_turns_among_questions_take_other_questions_and_pass_over_concepts_without_any() -> None:
    """Questions 0, 2 and 4 are on concept 0, question 3 is on 1 and 4; no question is on concept 2."""
    learners = TrueLearners(num_concepts=5, num_items=5, num_learners=2)
    learners.action_set = bank([[0, -1], [3, -1], [0, -1], [1, 4], [0, -1]])
    asked = request([[0, 1, 2], [2]], [[(0, 1), (1, 1), (1, 0)], []], 5, 6)
    path = rollout(learners, Targets(), asked, TargetsInTurn()).action
    assert path[0].tolist() == [0, 3, 2, 3, 4, 3]
    assert path[1, :4].tolist() == [0, 3, 1, 2]  # concepts 0, 1, 3 and 4 take turns; question 3 counts for 1 and 4
    check_policy(TargetsInTurn(), Environment(learners, Targets()), asked)


def ruled(mastery: list[float], targets: list[int], level: float = 0.6) -> int:
    """Return what the rule takes, by walking along the edges."""

    def behind(concept: int) -> set[int]:
        found, waiting = {concept}, [concept]
        while waiting:
            after = waiting.pop()
            fresh = {before for before, needing in EDGES if needing == after} - found
            found |= fresh
            waiting += fresh
        return found

    missing = {one: sum(max(level - mastery[j], 0) for j in behind(one)) for one in targets}
    unready = [one for one in targets if missing[one] > 0]
    if unready:
        nearest = min(unready, key=lambda one: missing[one])
        free = [
            j
            for j in behind(nearest)
            if mastery[j] < level and all(mastery[before] >= level for before, after in EDGES if after == j)
        ]
        if free:
            return min(free, key=lambda j: mastery[j])
    return min(targets, key=lambda one: mastery[one])


def test_the_rule_takes_the_weakest_concept_that_the_nearest_target_lacks() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = 200
    mastery = torch.rand(rows, 7, generator=generator)
    wanted = torch.rand(rows, 7, generator=generator) < 0.3
    wanted[~wanted.any(1), 0] = True
    asked = Ladder(7).request([row.nonzero().flatten().tolist() for row in wanted], 1)
    rule = PrerequisiteRule(prerequisites=PrerequisiteGraph(EDGES))
    path = rollout(Estimated(7, estimate=mastery), Targets(), asked, rule).action
    expected = [ruled(m, w.nonzero().flatten().tolist()) for m, w in zip(mastery.tolist(), wanted)]
    assert path[:, 0].tolist() == expected
    assert len({one in row.nonzero().flatten().tolist() for one, row in zip(expected, wanted)}) == 2


def test_the_rule_by_hand() -> None:
    """Target 4 lacks .1 + .2 (2 and 4), target 2 only .1: 2 is nearest; with 3 lost as well, 3 comes first."""
    rule = PrerequisiteRule(prerequisites=PrerequisiteGraph(EDGES))
    for third, expected in ((0.9, 2), (0.3, 3)):
        mastery = torch.tensor([[0.9, 0.9, 0.5, third, 0.4, 0.0, 0.0]])
        asked = Ladder(7).request([[2, 4]], 1)
        assert rollout(Estimated(7, estimate=mastery), Targets(), asked, rule).action.tolist() == [[expected]]


@pytest.mark.parametrize("policy", [TargetsInTurn(), PrerequisiteRule(prerequisites=PrerequisiteGraph([(0, 1)]))])
def test_every_action_is_allowed_for_goals_that_change(policy: Policy) -> None:
    taught = rollout(Ladder(3), WeakestConcept(), Ladder(3).request([[]], 3), policy)
    assert bool((taught.action >= 0).all())


def test_the_rule_sees_the_answers_and_climbs_question_by_question() -> None:
    learners = TrueLearners(num_concepts=5, num_items=10, num_learners=2)
    learners.action_set = bank([[item % 5] for item in range(10)])
    rule = PrerequisiteRule(prerequisites=PrerequisiteGraph(learners.world.prerequisites.tolist()))
    taught = rollout(learners, Targets(), request([[4], [2]], [[], []], 5, 10), rule)
    levels = taught.concept[0, :, 0].tolist()
    assert levels[0] < 4
    assert levels == sorted(levels)
    assert bool((taught.action[0].diff() != 0).all())
    check_policy(rule, Environment(learners, Targets()), request([[4], [2]], [[], [(0, 1)]], 5, 3))


def test_the_graph_comes_from_the_data_unless_it_is_given(tmp_path: Path) -> None:
    data = SyntheticLearners(num_concepts=10, num_learners=20, cache_dir=str(tmp_path))
    data.setup("fit")
    assert data.prerequisites is not None
    from_data, given = PrerequisiteRule(), PrerequisiteRule(prerequisites=PrerequisiteGraph([(3, 1)]))
    for rule in (from_data, given):
        assert isinstance(rule, Connected)
        rule.connect(data)
    needs = from_data.prerequisites.needs(10, torch.device("cpu"))
    assert torch.equal(needs, data.truth.needs)
    assert given.prerequisites.needs(10, torch.device("cpu")).nonzero().tolist() == [[1, 3]]


def test_settings_are_checked() -> None:
    for level in (0.0, 1.5):
        with pytest.raises(SettingError, match="level"):
            PrerequisiteRule(level=level)
    assert PrerequisiteRule(level=1.0).level == 1
    for edges in ([(0, 1, 2)], [(-1, 0)]):
        with pytest.raises(SettingError, match="edges"):
            PrerequisiteGraph(edges)
    with pytest.raises(SettingError, match="below 3"):
        PrerequisiteGraph([(0, 3)]).needs(3, torch.device("cpu"))
