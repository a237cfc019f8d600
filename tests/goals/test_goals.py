"""Goals choose the concepts that they say, and mark them by their exam."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lpr_lightning.checks import check_simulator
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import (
    AllConcepts,
    ConceptGoal,
    Exam,
    HardExam,
    PractisedConcept,
    SoftExam,
    Targets,
    UpcomingConcept,
    WeakestConcept,
)
from lpr_lightning.hparams import built, plain
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import PAD, Interactions, PathRequest

LADDER = Ladder(4)
HISTORIES = [[(0, 1), (1, 0), (1, 1)], [(3, 1), (3, 1), (2, 0), (0, 1), (2, 1)], []]


def request() -> PathRequest:
    log = Interactions.from_lists(HISTORIES)
    return replace(LADDER.request([[0, 3], [1], []], length=3), history=log.batch(torch.arange(3)))


def chosen(goal: ConceptGoal) -> list[list[int]]:
    concept: list[list[int]] = goal.choose(LADDER, LADDER.start(request()), request()).tolist()
    return concept


def upcoming() -> UpcomingConcept:
    goal = UpcomingConcept(4)
    goal.fit(Interactions.from_lists([[(0, 1), (2, 1), (0, 0), (2, 1), (1, 1)], [(1, 1), (3, 0)], []]))
    return goal


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (Targets(), [[0, 3], [1, PAD], [PAD, PAD]]),
        (AllConcepts(), [[0, 1, 2, 3]] * 3),
        (PractisedConcept(), [[1], [2], [PAD]]),
        (PractisedConcept(recent=1), [[1], [2], [PAD]]),
        (PractisedConcept(recent=2), [[1], [0], [PAD]]),
        (WeakestConcept(), [[2], [1], [0]]),
    ],
)
def test_concepts_are_chosen_by_hand(goal: ConceptGoal, expected: list[list[int]]) -> None:
    assert chosen(goal) == expected


def test_transitions_are_counted_within_learners() -> None:
    expected = [[0, 0, 1, 0], [0, 0, 0, 1], [0.5, 0.5, 0, 0], [0, 0, 0, 0]]
    assert upcoming().transitions.tolist() == expected


def test_there_is_no_transition_from_learner_to_learner() -> None:
    goal = UpcomingConcept(3)
    goal.fit(Interactions.from_lists([[(0, 1)], [(1, 1)], [(2, 1), (0, 1)]]))
    assert goal.transitions.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_targets_are_no_wider_than_they_must_be() -> None:
    for targets, width in (([[1], [2]], 1), ([[], []], 1), ([[0], [1, 2, 3]], 3)):
        ask = LADDER.request(targets, length=1)
        assert Targets().choose(LADDER, LADDER.start(ask), ask).shape == (2, width)


def test_a_single_concept_has_a_goal() -> None:
    ask = Ladder(1).request([[0]], length=1)
    assert UpcomingConcept(1).choose(Ladder(1), Ladder(1).start(ask), ask).tolist() == [[0]]


def test_the_upcoming_concept_is_the_likeliest_after_those_met() -> None:
    log = Interactions.from_lists([[(0, 1), (0, 1)], [(2, 1), (0, 0)], [(3, 1)], []])
    ask = replace(LADDER.request([[0]] * 4, length=1), history=log.batch(torch.arange(4)))
    transitions = upcoming().transitions.tolist()
    expected = []
    for met in ({0}, {0, 2}, {3}, {0, 1, 2, 3}):
        weight = [sum(transitions[c][after] for c in met) for after in range(4)]
        expected.append([weight.index(max(weight))])
    assert upcoming().choose(LADDER, LADDER.start(ask), ask).tolist() == expected


def test_transitions_of_several_concepts_count_each_pair() -> None:
    log = Interactions.from_lists([[(0, 1), (1, 1)]])
    goal = UpcomingConcept(4)
    goal.fit(replace(log, concept=torch.tensor([[0, 1], [2, -1]], dtype=torch.int32)))
    assert goal.transitions.tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(("exam", "score"), [(HardExam(0.5), [1.0, 0.0]), (SoftExam(), [0.75, 0.25])])
def test_learners_are_assessed_by_hand(exam: Exam, score: list[float]) -> None:
    state = (torch.tensor([[0.5, 0.0, 0.0, 0.25], [0.0, 0.25, 0.0, 1.0], [1.0] * 4]),)
    concept = torch.tensor([[0, 3], [1, PAD], [PAD, PAD]])
    standing = Targets(exam).assess(LADDER, state, concept)
    assert standing.mastery.tolist() == [0.375, 0.25, 0.0]
    assert standing.score.tolist() == [*score, 0.0]
    assert standing.best.tolist() == [2.0, 1.0, 0.0]


def test_several_states_of_a_learner_are_assessed_by_its_concepts() -> None:
    state = (torch.arange(16.0).view(4, 4) / 16,)
    standing = Targets(SoftExam()).assess(LADDER, state, torch.tensor([[0, 1], [3, PAD]]))
    assert standing.score.tolist() == [1 / 16, 9 / 16, 11 / 16, 15 / 16]


@pytest.mark.parametrize("exam", [HardExam(0.3), SoftExam()])
def test_marks_of_whole_masteries_are_the_scores(exam: Exam) -> None:
    goal, ask = Targets(exam), request()
    state = LADDER.start(ask)
    standing = goal.assess(LADDER, state, goal.choose(LADDER, state, ask))
    assert torch.equal(goal.mark(LADDER.mastery(state), ask.targets), standing.score)


@pytest.mark.parametrize(
    "goal", [Targets(), AllConcepts(SoftExam()), PractisedConcept(3), WeakestConcept(HardExam(0.75)), upcoming()]
)
def test_goals_follow_the_rules_and_are_rebuilt_from_plain_values(goal: ConceptGoal) -> None:
    check_simulator(Ladder(4, gain=0.3), request(), goal)
    again = built(plain(goal), ConceptGoal)
    assert type(again) is type(goal)
    assert again.exam == goal.exam
    assert plain(again) == plain(goal)


def test_what_was_fitted_is_saved() -> None:
    again = UpcomingConcept(4)
    again.load_state_dict(upcoming().state_dict())
    assert torch.equal(again.transitions, upcoming().transitions)


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="recent"):
        PractisedConcept(recent=0)
    with pytest.raises(SettingError, match="num_concepts"):
        UpcomingConcept()
    with pytest.raises(SettingError, match="threshold"):
        HardExam(1.0)
