"""What holds in every world: the rules of simulators, seeds, replays, and learners that do not touch one another."""

from __future__ import annotations

import copy

import pytest
import torch

from lpr_lightning.checks import check_simulator
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import built, plain
from lpr_lightning.protocols import Simulator
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.knowledge_world import KnowledgeLearners, KnowledgeWorld
from lpr_lightning.simulators.selective_world import SelectiveLearners, SelectiveWorld
from lpr_lightning.simulators.transfer_world import TransferLearners, TransferWorld
from lpr_lightning.simulators.true_learners import GrowthWorld, TrueLearners
from lpr_lightning.simulators.world_learners import WorldKind, WorldLearners
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import Exercise, PathRequest

CLASSES: dict[str, type[WorldLearners]] = {
    "growth": TrueLearners,
    "transfer": TransferLearners,
    "knowledge": KnowledgeLearners,
    "selective": SelectiveLearners,
}
every_world = pytest.mark.parametrize("name", CLASSES)


def learners(name: str, world_seed: int = 0) -> WorldLearners:
    return CLASSES[name](12, 36, 40, world_seed=world_seed)


def requests(truth: WorldLearners) -> PathRequest:
    log = truth.practice_log(20, 40)
    examples = PathRequests(min_distinct=3).examples(log, "test", truth.num_concepts, seed=0)
    request = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(request, PathRequest)
    return request


@every_world
@pytest.mark.parametrize("mode", ["drawn", "deterministic", "questions", "expected"])
def test_they_follow_the_rules_of_simulators(name: str, mode: str) -> None:
    truth = learners(name)
    truth.deterministic = mode == "deterministic"
    if mode == "questions":
        actions = QuestionActions(truth.num_items)
        actions.item_concepts = truth.item_concept[:, None]
        truth.action_set = actions
    request = requests(truth).select(torch.arange(8))
    truth = truth.expected() if mode == "expected" else truth
    assert isinstance(truth, Simulator)
    check_simulator(truth, request)


@every_world
def test_the_seed_is_the_world_and_its_logs(name: str) -> None:
    first, same, other = learners(name, 1), learners(name, 1), learners(name, 2)
    assert torch.equal(first.ability, same.ability)
    assert not torch.equal(first.ability, other.ability)
    logs = [one.practice_log(20, 40, seed) for one, seed in ((first, 1), (same, 1), (first, 2))]
    assert torch.equal(logs[0].item, logs[1].item)
    assert torch.equal(logs[0].correct, logs[1].correct)
    assert not torch.equal(logs[0].item[:500], logs[2].item[:500])


def test_every_kind_has_numbers_of_its_own() -> None:
    worlds = [learners(name) for name in CLASSES]
    assert len({float(world.difficulty[0]) for world in worlds}) == len(worlds)
    assert len({type(world).kind_class.recipe for world in worlds}) == len(worlds)


@every_world
def test_logs_are_of_the_wanted_lengths_and_items_of_their_concepts(name: str) -> None:
    truth = learners(name)
    log = truth.practice_log(20, 40)
    assert log.lengths.min() >= 20
    assert log.lengths.max() <= 40
    assert torch.equal(truth.item_concept[log.item.long()], log.concept[:, 0].long())


@every_world
def test_a_replay_gives_the_answers_the_probability_that_they_had(name: str) -> None:
    """What learners were asked they answered with the probabilities that a replay of their logs tells."""
    truth = CLASSES[name](12, 36, 400)
    log = truth.practice_log(30, 30)
    history = log.batch(torch.arange(400))
    state, wrong = truth.begin(history.learner), []
    for step in range(30):
        chance = truth.predict(state, history.asked(step))
        wrong.append((history.correct[:, step] - chance) / (chance * (1 - chance)).sqrt())
        state = truth.practise(state, history.asked(step), history.correct[:, step])
    assert abs(float(torch.stack(wrong).mean())) < 0.03
    assert float(torch.stack(wrong).square().mean()) == pytest.approx(1, abs=0.05)


@every_world
def test_practice_helps_and_more_where_the_answer_is_right_or_as_much(name: str) -> None:
    truth = learners(name)
    state = truth.expected().start(requests(truth))
    asked = Exercise.of_concepts(torch.zeros(len(state[0]), dtype=torch.int64))
    before = truth.mastery(state)[:, 0]
    wrong, right = (
        truth.mastery(truth.practise(state, asked, torch.full((len(before),), one)))[:, 0] for one in (0.0, 1.0)
    )
    assert (right >= wrong).all()
    assert (wrong >= before - 1e-6).all()
    assert (right > before).any()


@every_world
def test_expected_learners_answer_by_their_probabilities_and_leave_the_real_ones_alone(name: str) -> None:
    truth = learners(name)
    expected, chance = truth.expected(), torch.tensor([0.2, 0.7])
    assert torch.equal(expected.respond(chance, Draws.of(0, 0, torch.arange(2))), chance)
    assert truth.respond(chance, None).tolist() == [0.0, 1.0]
    request = requests(truth)
    torch.testing.assert_close(truth.mastery(truth.start(request)), expected.mastery(expected.start(request)))


@every_world
def test_unseen_learners_begin_alike(name: str) -> None:
    truth = learners(name)
    mastery = truth.mastery(truth.begin(torch.tensor([-1, 0, 40])))
    assert torch.equal(mastery[0], mastery[2])
    assert not torch.equal(mastery[0], mastery[1])


@every_world
def test_they_are_rebuilt_from_plain_values(name: str) -> None:
    truth = CLASSES[name](12, 36, 40, world_seed=3)
    described = plain(truth)
    assert isinstance(described, dict)
    again = built(described, CLASSES[name])
    assert again is not None
    assert torch.equal(truth.ability, again.ability)
    assert torch.equal(copy.deepcopy(truth).difficulty, again.difficulty)


@every_world
def test_a_kind_makes_its_learners_and_only_these_take_it(name: str) -> None:
    kind = CLASSES[name].kind_class()
    made = kind.learners(12, 36, 40, world_seed=2)
    assert type(made) is CLASSES[name]
    assert made.kind is kind
    assert torch.equal(made.ability, learners(name, 2).ability)
    other = GrowthWorld() if name != "growth" else TransferWorld()
    with pytest.raises(SettingError, match=type(other).__name__):
        CLASSES[name](12, 36, 40, kind=other)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (TransferWorld, {"transfer": 1.5}),
        (TransferWorld, {"ceiling": -1.0}),
        (TransferWorld, {"steepness": 0.0}),
        (KnowledgeWorld, {"learn": 0.0}),
        (KnowledgeWorld, {"leak": 2.0}),
        (KnowledgeWorld, {"guess": 0.5, "slip": 0.5}),
        (SelectiveWorld, {"half_life": 0.0}),
        (SelectiveWorld, {"quitting": -0.1}),
        (SelectiveWorld, {"focus": 0.0}),
    ],
)
def test_kinds_that_cannot_be_are_refused(kind: type[WorldKind], wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        kind(**wrong)


@every_world
def test_a_kind_makes_its_own_learners_of_the_first_seed(name: str) -> None:
    truth = learners(name)
    again = truth.kind.learners(12, 36, 40)
    assert type(again) is type(truth)
    assert torch.equal(again.ability, truth.ability)
