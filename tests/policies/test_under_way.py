"""Requests taken up in the middle of paths, against steps taken one learner at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import Targets
from lpr_lightning.models.dkt import DKT
from lpr_lightning.policies.under_way import DrawnLearners, TakenUp, under_way
from lpr_lightning.protocols import Environment, Simulator
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.types import PAD, Exercise, Interactions, PathRequest

CONCEPTS = 4
LOG = Interactions.from_lists([[(0, 1), (1, 0), (2, 1)], [(3, 0)], [(1, 1), (1, 0)]])
PATH = torch.tensor([[0, 1, 2, 3], [3, 3, 1, 0], [2, 0, PAD, PAD]])


class Requests:
    """The three requests as examples."""

    sizes = LOG.lengths

    def batch(self, index: Tensor) -> PathRequest:
        targets = torch.eye(CONCEPTS, dtype=torch.bool)[index]
        return PathRequest(LOG.batch(index), targets, torch.full_like(index, 4), LOG.learner[index], index)


@pytest.fixture(scope="module")
def environment() -> Environment:
    torch.manual_seed(0)
    return Environment(KESSimulator(DKT(CONCEPTS, 5, 6), response="soft"), Targets())


def request() -> PathRequest:
    return Requests().batch(torch.arange(3))


def test_learners_are_protocol_simulators(environment: Environment) -> None:
    learners: Simulator = DrawnLearners(environment.simulator)
    assert isinstance(learners, Simulator)


def test_the_first_steps_of_the_paths_stand_behind_the_histories(environment: Environment) -> None:
    steps, draws = torch.tensor([3, 0, 2]), Draws.of(0, 0, torch.arange(3))
    later = under_way(environment, request(), PATH, steps, draws)
    assert later.length.tolist() == [1, 4, 2]
    assert later.row.tolist() == [PAD, 1, PAD]
    assert later.history.lengths.tolist() == [6, 1, 4]
    for learner, taken in enumerate(steps.tolist()):
        history = LOG.batch(torch.tensor([learner]))
        before = int(history.lengths)
        for step in range(taken):
            given = later.history.correct[learner, before + step]
            assert float(given) in (0.0, 1.0)  # the simulator's own answers are soft
            assert int(later.history.concept[learner, before + step, 0]) == int(PATH[learner, step])


def test_many_draws_are_as_often_right_as_predicted(environment: Environment) -> None:
    many = torch.zeros(4000, dtype=torch.int64)
    several = Requests().batch(many)
    draws = Draws.of(3, 0, torch.arange(4000))
    later = under_way(environment, several, PATH[:1].expand(4000, -1), torch.ones_like(many), draws)
    first = environment.simulator.start(several.select(torch.tensor([0])))
    chance = environment.simulator.predict(first, Exercise.of_concepts(PATH[0, :1]))
    assert abs(float(later.history.correct[:, 3].mean()) - float(chance)) < 0.03


def test_every_answer_is_evidence_for_the_next(environment: Environment) -> None:
    """The second answer is as often right as predicted after the first one, right and wrong alike."""
    many = torch.zeros(6000, dtype=torch.int64)
    later = under_way(
        environment, Requests().batch(many), PATH[1:2].expand(6000, -1), many + 2, Draws.of(1, 0, torch.arange(6000))
    )
    first, second = later.history.correct[:, 3], later.history.correct[:, 4]
    simulator, asked = environment.simulator, Exercise.of_concepts(PATH[1, :1])
    start = simulator.start(Requests().batch(many[:1]))
    for answer in (0.0, 1.0):
        after = simulator.observe(start, asked, torch.tensor([answer]))
        assert abs(float(second[first == answer].mean()) - float(simulator.predict(after, asked))) < 0.04


def test_no_step_leaves_the_requests_alone(environment: Environment) -> None:
    asked = request()
    assert under_way(environment, asked, PATH, torch.zeros(3, dtype=torch.int64), None) is asked


def test_a_request_is_taken_up_alike_in_any_batch(environment: Environment) -> None:
    examples = TakenUp(Requests(), PATH, environment, 5, torch.device("cpu"))
    whole = examples.batch(torch.arange(3))
    assert torch.equal(examples.sizes, LOG.lengths)
    assert torch.equal(whole.row, torch.arange(3))
    alone = examples.batch(torch.tensor([2]))
    size = int(alone.history.lengths)
    assert int(whole.history.lengths[2]) == size
    assert torch.equal(whole.history.concept[2, :size], alone.history.concept[0, :size])
    assert torch.equal(whole.history.correct[2, :size], alone.history.correct[0, :size])
    assert int(alone.length) == 4 - (size - 2)
    places = {
        int(TakenUp(Requests(), PATH, environment, seed, torch.device("cpu")).batch(torch.tensor([0])).length)
        for seed in range(30)
    }
    assert places == {1, 2, 3, 4}  # from no step to all but one


def test_one_path_for_each_request_is_needed(environment: Environment) -> None:
    with pytest.raises(SettingError, match="3 rows"):
        under_way(environment, request(), PATH[:2], torch.zeros(3, dtype=torch.int64), None)
