"""Learners know a concept or do not, and learn it as Bayesian knowledge tracing says."""

from __future__ import annotations

import math

import pytest
import torch

from lpr_lightning.simulators.knowledge_world import KnowledgeLearners, KnowledgeWorld
from lpr_lightning.types import Exercise, InteractionBatch, PathRequest

FEW = KnowledgeLearners(num_concepts=5, num_items=10, num_learners=3)  # one topic: 0 - 1 - 2 - 3 - 4


def practised(learners: KnowledgeLearners, state: tuple[torch.Tensor, ...], concept: int) -> tuple[torch.Tensor, ...]:
    rows = len(state[0])
    return learners.practise(state, Exercise.of_concepts(torch.full((rows,), concept)), torch.zeros(rows))


def test_a_concept_is_known_once_the_hazards_sum_to_the_need() -> None:
    need = torch.full((1, 5), 2.5 * float(FEW.hazard[0]))
    state: tuple[torch.Tensor, ...] = (torch.zeros(1, 5), need)
    known = []
    for _ in range(4):
        known.append(FEW.level(state)[0, 0].item())
        state = practised(FEW, state, 0)
    assert known == [0, 0, 0, 1]


def test_an_unknown_prerequisite_leaves_little_of_the_hazard() -> None:
    need = torch.full((2, 5), 9.0)
    need[0, 0] = 0.0
    gained = practised(FEW, (torch.zeros(2, 5), need), 1)[0][:, 1] / FEW.hazard[1]
    assert gained.tolist() == pytest.approx([1.0, FEW.kind.leak])


def test_answers_follow_guess_and_slip_moved_by_the_exercise() -> None:
    state = (torch.zeros(1, 5), torch.tensor([[0.0, 1.0, 1.0, 1.0, 1.0]]))
    assert FEW.mastery(state)[0].tolist() == pytest.approx([1 - FEW.kind.slip] + [FEW.kind.guess] * 4)
    ease = FEW.kind.discrimination * float(FEW.difficulty[1] - FEW.item_difficulty[6])
    logit = math.log(FEW.kind.guess / (1 - FEW.kind.guess)) + ease
    chance = FEW.predict(state, Exercise(torch.tensor([[1]]), torch.tensor([6])))
    assert float(chance) == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)


def test_waiting_times_are_geometric_as_in_bayesian_knowledge_tracing() -> None:
    many = KnowledgeLearners(2, 2, 20000, kind=KnowledgeWorld(learn=0.3, spread=0.0, known=-99.0))
    state = many.begin(torch.arange(20000))
    assert bool(many.level(state).all())
    many = KnowledgeLearners(2, 2, 20000, kind=KnowledgeWorld(learn=0.3, spread=0.0, known=99.0))
    state = many.begin(torch.arange(20000))
    for step in range(1, 6):
        state = practised(many, state, 0)
        assert float(many.level(state)[:, 0].mean()) == pytest.approx(1 - 0.7**step, abs=0.012)


def test_expected_learners_know_the_state_but_not_what_will_be_needed() -> None:
    many = KnowledgeLearners(2, 2, 20000, kind=KnowledgeWorld(spread=0.0, known=99.0))
    history = InteractionBatch(
        concept=torch.zeros(20000, 2, 1, dtype=torch.int64),
        item=torch.full((20000, 2), -1),
        correct=torch.ones(20000, 2),
        mask=torch.ones(20000, 2, dtype=torch.bool),
        learner=torch.arange(20000),
    )
    rows = torch.arange(20000)
    request = PathRequest(history, torch.ones(20000, 2, dtype=torch.bool), torch.full_like(rows, 3), rows, rows)
    expected = many.expected()
    real, known = many.start(request), expected.start(request)
    assert torch.equal(many.level(real), expected.level(known))
    unknown = many.level(real)[:, 0] == 0
    for _ in range(3):
        real, known = practised(many, real, 0), practised(expected, known, 0)
    chance = expected.level(known)[unknown, 0]
    assert chance.tolist() == pytest.approx([1 - 0.7**3] * int(unknown.sum()), abs=1e-4)
    assert float(many.level(real)[unknown, 0].mean()) == pytest.approx(float(chance[0]), abs=0.015)


def test_what_is_known_stays_known() -> None:
    state = FEW.begin(torch.arange(3))
    for concept in (0, 1, 2, 3, 4, 0, 1, 2):
        after = practised(FEW, state, concept)
        assert (FEW.level(after) >= FEW.level(state)).all()
        state = after
