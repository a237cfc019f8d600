"""One learner at work: what is recommended next is what a policy chooses after the same answers."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import ConceptGoal, PractisedConcept, SoftExam, Targets, WeakestConcept
from lpr_lightning.models.calibrated_dkt import CalibratedDKT
from lpr_lightning.models.recommender import Recommender
from lpr_lightning.policies import ExactGreedy, RandomTargets, TargetsInTurn
from lpr_lightning.policies.learner_session import LearnerSession
from lpr_lightning.protocols import Policy
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.kes import KESSimulator


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticLearners:
    folder = tmp_path_factory.mktemp("data")
    data = SyntheticLearners(num_concepts=5, num_learners=20, answers=(8, 12), cache_dir=str(folder))
    data.setup("fit")
    return data


def adviser(data: SyntheticLearners, policy: Policy | None = None, goal: ConceptGoal | None = None) -> Recommender:
    torch.manual_seed(0)
    tracer = CalibratedDKT(data.num_concepts, data.num_items, embedding_size=4, hidden_size=5, head_size=6)
    for weight in tracer.parameters():
        torch.nn.init.normal_(weight, std=0.7)
    tracer.connect(data)
    bank = QuestionActions(data.num_items)
    bank.connect(data)
    simulator = KESSimulator(tracer, response="bernoulli", actions=bank)
    return Recommender(data.num_concepts, simulator, policy, goal or PractisedConcept(exam=SoftExam()))


def test_the_next_exercise_follows_the_answers(data: SyntheticLearners) -> None:
    """After two answers a session recommends what a new one with these answers in its history does."""
    first, third = data.item_names[3], data.item_names[8]
    history = [(first, 1.0), (third, 0.0)]
    goal = WeakestConcept(SoftExam())
    learner = LearnerSession(adviser(data, goal=goal), data, history)
    given = list(history)
    for correct in (0.0, 1.0):
        exercise = learner.next()
        assert exercise is not None
        assert exercise == learner.next()
        given.append((exercise.item, correct))
        learner.answer(correct)
    fresh = LearnerSession(adviser(data, goal=goal), data, given).next()
    later = learner.next()
    assert later is not None
    assert fresh is not None
    assert (later.item, later.concepts) == (fresh.item, fresh.concepts)
    assert later.gain == pytest.approx(fresh.gain, abs=1e-5)
    assert later.success == pytest.approx(fresh.success, abs=1e-5)


def test_the_expected_gain_is_that_of_both_answers(data: SyntheticLearners) -> None:
    agent = adviser(data)
    exercise = LearnerSession(agent, data, [(data.item_names[0], 1.0)]).next()
    assert exercise is not None
    request = LearnerSession(agent, data, [(data.item_names[0], 1.0)]).request
    simulator = agent.simulator
    state = simulator.start(request)
    concept = agent.goal.choose(simulator, state, request)
    asked = simulator.actions.at(torch.tensor([data.item_names.index(exercise.item)]))
    value = 0.0
    for answer, weight in ((1.0, exercise.success), (0.0, 1 - exercise.success)):
        after = simulator.practise(state, asked, torch.tensor([answer]))
        value += weight * float(simulator.mastery(after, concept).detach())
    assert exercise.gain == pytest.approx(value - float(simulator.mastery(state, concept).detach()), abs=1e-5)


def test_targets_other_answers_and_the_end(data: SyntheticLearners) -> None:
    wanted = data.concept_names[2]
    learner = LearnerSession(adviser(data, RandomTargets(), Targets(SoftExam())), data, targets=[wanted], length=2)
    exercise = learner.next()
    assert exercise is not None
    assert exercise.concepts == (wanted,)
    turns = LearnerSession(adviser(data, TargetsInTurn(), Targets(SoftExam())), data, targets=[wanted])
    taken = next(name for name, row in zip(data.item_names, data.item_concepts.tolist()) if row[0] == 2)
    turns.answer(1, item=taken)
    other = turns.next()
    assert other is not None
    assert other.item != taken


def test_mistakes_are_refused(data: SyntheticLearners) -> None:
    learner = LearnerSession(adviser(data), data)
    with pytest.raises(SettingError, match="next"):
        learner.answer(1)
    learner.next()
    with pytest.raises(SettingError, match="correct"):
        learner.answer(2)
    with pytest.raises(SettingError, match="raw name"):
        learner.answer(1, item="nothing")
    with pytest.raises(SettingError, match="raw name"):
        LearnerSession(adviser(data), data, [("nothing", 1)])
    with pytest.raises(SettingError, match="targets"):
        LearnerSession(adviser(data), data, targets=["nothing"])
    with pytest.raises(SettingError, match="Recommender"):
        LearnerSession(ExactGreedy(), data)  # type: ignore[arg-type]
