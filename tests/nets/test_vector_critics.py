"""Critics of action vectors: what the released code got wrong, and the equations by loops."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.nets.action_nets import ConceptNetwork, Observation, Sizes
from lpr_lightning.nets.performance_factors import PerformanceFactorsNet
from lpr_lightning.nets.question_net import QuestionNet
from lpr_lightning.nets.question_table import QuestionTable
from lpr_lightning.nets.sphere_actors import ConceptActorNet, PlainActorNet, Situation, VectorActor
from lpr_lightning.nets.tracer_net import TracerNet
from lpr_lightning.nets.vector_critics import ModelCritic, PlainCritic, Twins, Weighing
from lpr_lightning.simulators.actions import ConceptActions, QuestionActions
from lpr_lightning.types import PAD, Exercise, State

ROWS, CONCEPTS, QUESTIONS, WIDTH = 5, 3, 7, 4
SIZES = Sizes(2, 0, CONCEPTS, QUESTIONS)


def question_net() -> QuestionNet:
    torch.manual_seed(0)
    table = QuestionTable(QUESTIONS, CONCEPTS, WIDTH, given_items=True, given_concepts=True)
    concepts = torch.randint(CONCEPTS, (QUESTIONS, 1))
    vectors, queries = (2 * normalize(torch.randn(count, WIDTH), dim=1) for count in (QUESTIONS, CONCEPTS))
    table.attach(concepts, item_vectors=vectors, concept_vectors=queries)
    return QuestionNet(table, hidden_size=6, head_size=8).eval()


def bank(net: QuestionNet) -> QuestionActions:
    actions = QuestionActions(QUESTIONS)
    actions.item_concepts = net.table.item_concepts
    actions.embed(net.table.all_items())
    return actions


def situation(learner: State, rows: int = ROWS) -> Situation:
    concept = torch.tensor([[0, PAD], [1, 2], [2, PAD], [0, 1], [1, PAD]])[:rows]
    goal = torch.zeros(rows, CONCEPTS + 1).scatter(1, torch.where(concept < 0, CONCEPTS, concept), 1.0)[:, :-1]
    taken = torch.full((rows, 0), PAD)
    seen = Observation(torch.randn(rows, 2), goal.bool(), torch.tensor([1, 2, 3, 4, 5])[:rows], taken)
    return Situation(seen, learner, concept)


def of_questions(**settings: float) -> tuple[ModelCritic, Situation]:
    net = question_net()
    learner = torch.randn(ROWS, 6).tanh(), torch.randn(ROWS, 6)
    return ModelCritic(net, Targets(SoftExam()), bank(net), **settings), situation(learner)  # type: ignore[arg-type]


def value_of(net: TracerNet, learner: State, concept: Tensor) -> Tensor:
    """Return the goal's mean mastery of one learner, concept by concept."""
    return torch.stack([net.mastery(learner)[0, one] for one in concept.tolist() if one >= 0]).mean()


def test_it_is_equation_23_learner_by_learner() -> None:
    critic, at = of_questions(scale=1000.0)
    vector = 2 * normalize(torch.randn(ROWS, WIDTH), dim=1)
    found = critic(at, vector)
    for row in range(ROWS):
        learner = tuple(part[row : row + 1] for part in at.learner)
        asked = Exercise(torch.full((1, 1), PAD), torch.full((1,), PAD), vector[row : row + 1])
        success = critic.net.predict(learner, asked)
        wrong, right = (critic.net.observe(learner, asked, torch.tensor([answer])) for answer in (0.0, 1.0))
        after = [value_of(critic.net, one, at.concept[row]) for one in (wrong, right)]
        value = success * after[1] + (1 - success) * after[0] - value_of(critic.net, learner, at.concept[row])
        torch.testing.assert_close(found[row : row + 1], 1000 * value, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["plain", "model"])
def test_rows_are_independent(kind: str) -> None:
    """The released critic runs all actions of a minibatch as one sequence from each learner's state."""
    critic, at = of_questions(scale=1000.0)
    chosen = critic if kind == "model" else PlainCritic(SIZES, torch.randn(CONCEPTS, WIDTH), 8, 8)
    vector = torch.randn(ROWS, WIDTH)
    other = torch.cat([vector[:-1], torch.randn(1, WIDTH)])
    before, after = chosen(at, vector), chosen(at, other)
    assert torch.equal(before[:-1], after[:-1])
    assert before[-1] != after[-1]


def test_gradients_reach_the_action_through_p_and_the_next_states() -> None:
    critic, at = of_questions()
    critic = critic.double()
    at = at._replace(learner=tuple(part.double() for part in at.learner))
    vector = torch.randn(ROWS, WIDTH, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: critic(at, one), (vector,))
    fixed = critic.net.predict

    def logged(state: State, asked: Exercise) -> Tensor:
        return fixed(state, asked).detach()

    whole = torch.autograd.grad(critic(at, vector).sum(), vector)[0]
    critic.net.predict = logged  # type: ignore[method-assign]
    without = torch.autograd.grad(critic(at, vector).sum(), vector)[0]
    assert not torch.allclose(whole, without)


def test_the_next_state_has_its_own_cell() -> None:
    critic, at = of_questions()
    vector = torch.randn(ROWS, WIDTH)
    other = at._replace(learner=(at.learner[0], at.learner[1] + 1))
    assert not torch.allclose(critic(at, vector), critic(other, vector))


def test_twins_differ_and_one_step_trains_all_that_is_asked() -> None:
    net, at = question_net(), of_questions()[1]
    twins = Twins([ModelCritic(net, Targets(SoftExam()), bank(net), apart=0.05) for _ in range(2)])
    vector = torch.randn(ROWS, WIDTH)
    values = twins(at, vector)
    assert not torch.equal(values[0], values[1])
    before = copy.deepcopy(twins.state_dict())
    optimizer = torch.optim.Adam([weight for weight in twins.parameters() if weight.requires_grad], 1e-2)
    twins(at, vector).square().sum().backward()
    optimizer.step()
    for name, weight in twins.named_parameters():
        assert torch.equal(weight, before[name]) != weight.requires_grad, name
    assert any(weight.requires_grad for weight in twins.parameters())


def test_a_tracer_of_concepts_is_asked_the_nearest_ones() -> None:
    net = PerformanceFactorsNet(CONCEPTS)
    net.ease.data.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    actions = ConceptActions(CONCEPTS)
    actions.embed(torch.eye(CONCEPTS))
    critic = ModelCritic(net, Targets(SoftExam()), actions, weighing=Weighing(2, 5.0))
    at = situation(net.initial_state(ROWS))
    vector = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.6, 0.8], [0.0, 0.0, 1.0], [0.3, 0.5, 0.1], [0.7, 0.0, 0.2]])
    vector = normalize(vector, dim=1).requires_grad_()
    found = critic(at, vector, climbing=True)
    for row in range(ROWS):
        learner = tuple(part[row : row + 1] for part in at.learner)
        order = vector[row].argsort(descending=True)[:2]
        weight = torch.softmax(5.0 * vector[row][order], 0)
        value = torch.zeros(())
        for one, share in zip(order, weight):
            asked = Exercise.of_concepts(one[None])
            after = net.practise(learner, asked, torch.ones(1))  # practice counts alike after either answer
            value = value + share * (value_of(net, after, at.concept[row]) - value_of(net, learner, at.concept[row]))
        torch.testing.assert_close(found[row], value)
    (gradient,) = torch.autograd.grad(found.sum(), vector)
    assert (gradient != 0).any(1).tolist() == [True, True, True, True, False]  # the last: neither helps its goal


@dataclass
class Always:
    """Goes on with one action, answered in one way."""

    vector: Tensor
    answer: float

    def act(self, at: Situation) -> Tensor:
        return self.vector.expand(len(at.concept), -1)

    def advance(self, at: Situation) -> Situation:
        return at

    def answers(self, success: Tensor, step: int) -> Tensor:
        return torch.full_like(success, self.answer)


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_an_expansion_goes_on_from_both_outcomes_until_the_episodes_end(answer: float) -> None:
    critic, at = of_questions(scale=10.0, gamma=0.9, horizon=3)
    vector, later = torch.randn(ROWS, WIDTH), torch.randn(WIDTH)
    found = critic(at, vector, Always(later, answer))
    net = critic.net

    def step(learner: State, concept: Tensor, action: Tensor) -> tuple[Tensor, Tensor, list[State]]:
        action = 2 * normalize(action, dim=0)[None]
        asked = Exercise(torch.full((1, 1), PAD), torch.full((1,), PAD), action)
        success = net.predict(learner, asked)[0]
        after = [net.observe(learner, asked, torch.tensor([one])) for one in (0.0, 1.0)]
        values = [value_of(net, one, concept) for one in after]
        gain = success * values[1] + (1 - success) * values[0] - value_of(net, learner, concept)
        return gain, success, after

    for row in range(ROWS):
        left, concept = int(at.seen.left[row]), at.concept[row]
        value, success, after = step(tuple(part[row : row + 1] for part in at.learner), concept, vector[row])
        for outcome, chance in ((0, 1 - success), (1, success)):
            learner = after[outcome]
            for further in (1, 2):
                if further >= left:
                    break
                gain, _, following = step(learner, concept, later)
                value = value + chance * 0.9**further * gain
                learner = following[int(answer)]
        torch.testing.assert_close(found[row], 10 * value, rtol=1e-4, atol=1e-4)


def test_actors_give_directions_and_train_every_weight() -> None:
    torch.manual_seed(0)
    seen = of_questions()[1].seen
    actors: list[tuple[VectorActor, bool]] = []
    for noise in (True, False):
        actors.append((PlainActorNet(SIZES, torch.randn(CONCEPTS, WIDTH), 8, 8, noise), noise))
        actors.append((ConceptActorNet(SIZES, torch.randn(CONCEPTS, WIDTH), ConceptNetwork(rounds=0), noise), noise))
    for actor, noise in actors:
        direction, scale = actor(seen)
        assert torch.allclose(direction.norm(dim=1), torch.ones(ROWS), atol=1e-6)
        assert bool((scale > 0).all()) == noise
        (direction[:, 0] + scale.sum(1)).sum().backward()
        assert all(weight.grad is not None and bool((weight.grad != 0).any()) for weight in actor.parameters())


def test_an_actor_and_a_critic_find_the_best_direction_of_a_model() -> None:
    """With the model as its critic, the actor climbs to the best exercise without any episode."""
    critic, at = of_questions()
    net = question_net()
    actions = bank(net)
    actor = PlainActorNet(SIZES, net.table.concepts(), 16, 16, noise=False)
    optimizer = torch.optim.Adam(actor.parameters(), 1e-2)
    for _ in range(150):
        loss = -critic(at, actor(at.seen)[0]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        every = torch.stack([critic(at, one.expand(ROWS, -1)) for one in actions.unit], 1)
        reached = critic(at, actor(at.seen)[0])
    assert bool((reached > every.mean(1)).all())
    assert float((reached - every.amax(1)).min()) > -0.25 * float((every.amax(1) - every.amin(1)).max())
