"""One step ahead over a bank of questions, against a loop over questions and answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lpr_lightning.checks import check_policy
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import AllConcepts, ConceptGoal, PractisedConcept, SoftExam, WeakestConcept
from lpr_lightning.hparams import built, plain
from lpr_lightning.models.calibrated_dkt import CalibratedDKT
from lpr_lightning.policies import (
    ExactGreedy,
    NearestTarget,
    RandomPaths,
    RandomTargets,
    TargetActions,
    TargetsInTurn,
)
from lpr_lightning.protocols import Environment, Policy
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.simulators.true_learners import TrueLearners
from lpr_lightning.types import Interactions, PathRequest

CONCEPTS, ITEMS = 4, 9
ON = torch.tensor([[item % CONCEPTS, (item + 1) % CONCEPTS if item % 3 == 0 else -1] for item in range(ITEMS)])


def learners() -> KESSimulator:
    torch.manual_seed(0)
    tracer = CalibratedDKT(CONCEPTS, ITEMS, embedding_size=5, hidden_size=6, head_size=7)
    for weight in tracer.parameters():
        torch.nn.init.normal_(weight, std=0.7)
    tracer.net.table.attach(ON, None, None, None)
    tracer.calibration.frozen.table.share(tracer.net.table)
    bank = QuestionActions(ITEMS)
    bank.item_concepts = ON
    return KESSimulator(tracer, response="bernoulli", actions=bank)


def requests(count: int = 6, length: int = 3) -> PathRequest:
    generator = torch.Generator().manual_seed(1)
    logs = [
        [(int(torch.randint(CONCEPTS, (), generator=generator)), int(torch.randint(2, (), generator=generator)))] * 3
        for _ in range(count)
    ]
    rows = torch.arange(count)
    targets = torch.eye(CONCEPTS).bool()[rows % CONCEPTS]
    history = Interactions.from_lists(logs).batch(rows)
    history = replace(history, item=history.concept[..., 0])
    return PathRequest(history, targets, torch.full((count,), length), rows, rows)


@pytest.mark.parametrize(
    "goal", [AllConcepts(SoftExam()), PractisedConcept(exam=SoftExam()), WeakestConcept(SoftExam())]
)
def test_it_takes_the_question_of_the_greatest_expectation(goal: ConceptGoal) -> None:
    simulator, request = learners(), requests()
    state = simulator.start(request)
    concept = goal.choose(simulator, state, request)
    found = ExactGreedy().act(
        Environment(simulator, goal), ExactGreedy().begin(Environment(simulator, goal), request), concept, None
    )
    for row in range(len(request)):
        own = tuple(part[row : row + 1] for part in state)
        expected = []
        for item in range(ITEMS):
            asked = simulator.actions.at(torch.tensor([item]))
            chance = float(simulator.predict(own, asked))
            value = 0.0
            for answer, weight in ((1.0, chance), (0.0, 1 - chance)):
                after = simulator.mastery(simulator.practise(own, asked, torch.tensor([answer])))[0]
                value += weight * float(after[concept[row]].mean())
            expected.append(value)
        assert int(found.action[row]) == max(range(ITEMS), key=lambda one: expected[one])
    assert len(set(found.action.tolist())) > 1 or isinstance(goal, AllConcepts)


def test_memory_bounds_change_nothing_and_candidates_are_kept() -> None:
    simulator, request, goal = learners(), requests(), PractisedConcept(exam=SoftExam())
    draws = Draws.of(0, 0, request.row)
    whole, tight = (rollout(simulator, goal, request, ExactGreedy(max_rows=rows), draws).action for rows in (8192, 4))
    assert torch.equal(whole, tight)
    on_target = rollout(simulator, goal, request, ExactGreedy(candidates=TargetActions()), draws)
    assert bool((on_target.concept == on_target.targets.float().argmax(1)[:, None, None]).any(2).all())


def test_without_repeats_a_question_comes_once_until_all_were_asked() -> None:
    simulator, request, goal = learners(), requests(length=ITEMS + 2), AllConcepts(SoftExam())
    draws = Draws.of(0, 0, request.row)
    path = rollout(simulator, goal, request, ExactGreedy(repeats=False), draws).action
    assert bool((path[:, :ITEMS].sort(1).values == torch.arange(ITEMS)).all())
    assert bool((path >= 0).all())
    repeated = rollout(simulator, goal, request, ExactGreedy(), draws).action
    assert any(len(set(row)) < ITEMS for row in repeated.tolist())


def test_with_access_to_the_truth_it_teaches_more_than_chance() -> None:
    truth = TrueLearners(num_concepts=10, num_items=30, num_learners=20)
    bank = QuestionActions(30)
    bank.item_concepts = truth.item_concept[:, None]
    truth.action_set = bank
    rows = torch.arange(20)
    empty = Interactions.from_lists([[] for _ in rows]).batch(rows)
    request = PathRequest(empty, torch.ones(20, 10).bool(), torch.full((20,), 5), rows, rows)
    goal, draws = AllConcepts(SoftExam()), Draws.of(0, 0, rows)
    gain = {}
    for policy in (ExactGreedy(), RandomPaths()):
        taught = rollout(truth, goal, request, policy, draws, model=truth.expected())
        gain[policy.name] = float((taught.score_after - taught.score_before).mean())
    assert gain["exact_greedy"] > 2 * gain["random"]


POLICIES: list[Policy] = [
    *(ExactGreedy(), ExactGreedy(repeats=False, candidates=TargetActions())),
    *(RandomPaths(), RandomTargets(), TargetsInTurn(), NearestTarget()),
]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_rivals_keep_the_rules_on_a_bank_of_questions(policy: Policy) -> None:
    goal = PractisedConcept(exam=SoftExam())
    check_policy(policy, Environment(learners(), goal), requests())
    described = plain(policy)
    assert isinstance(described, dict)
    assert built(described, Policy) == policy
    taught = rollout(learners(), goal, requests(), policy)
    assert bool((taught.session.item >= 0).all())
    if policy.name in ("random_targets", "targets_in_turn", "nearest_target"):
        wanted = taught.targets.float().argmax(1)
        assert bool((taught.concept == wanted[:, None, None]).any(2).all())


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="max_rows"):
        ExactGreedy(max_rows=0)
