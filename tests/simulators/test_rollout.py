"""Episodes against hand-played ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor
from toy_tracer import ToyTracer

from lpr_lightning.draws import Draws
from lpr_lightning.goals import AllConcepts, ConceptGoal, HardExam, SoftExam, Targets, WeakestConcept
from lpr_lightning.policies import DKTRec, follow_paths
from lpr_lightning.protocols import Act, Environment, Policy
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.simulators.true_learners import TrueLearners
from lpr_lightning.types import PAD, Interactions, PathRequest, Rollout, State


@dataclass
class Climber:
    """Stays with a concept until it is answered rightly, then goes on to the next, and stops after the last."""

    name: str = "climber"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        return (torch.zeros_like(request.row),)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        return Act(state[0].masked_fill(state[0] >= environment.simulator.num_concepts, PAD))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        return (state[0] + (correct > 0),)


@dataclass
class Sampler:
    """Draws actions evenly where it is given draws, else takes action 0, and says with what log-probability."""

    name: str = "sampler"
    seen: list[Tensor] = field(default_factory=list)

    def begin(self, environment: Environment, request: PathRequest) -> State:
        return ()

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        self.seen.append(concept)
        size = len(environment.simulator.actions)
        action = torch.zeros(len(concept), dtype=torch.int64) if draws is None else draws.integers(size)
        return Act(action, torch.full((len(concept),), -1.5))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        return state


def truth(questions: bool = False) -> TrueLearners:
    learners = TrueLearners(num_concepts=10, num_items=20, num_learners=8)
    if questions:
        bank = QuestionActions(20)
        bank.item_concepts = learners.item_concept[:, None]
        learners.action_set = bank
    return learners


def request(rows: int = 6, length: int = 4) -> PathRequest:
    log = Interactions.from_lists([[((row + t) % 10, t % 2) for t in range(row)] for row in range(rows)])
    plain = Ladder(10).request(targets=[[row, (3 * row + 1) % 10] for row in range(rows)], length=length)
    return replace(plain, history=log.batch(torch.arange(rows)), learner=log.learner)


def same_rows(one: Rollout, other: Rollout) -> bool:
    exact = torch.equal(one.action, other.action) and torch.equal(one.response, other.response)
    names = ("predicted", "gain", "score_before", "score_after", "mastery_after")
    return exact and all(torch.allclose(vars(one)[name], vars(other)[name], atol=1e-6) for name in names)


def test_a_policy_reacts_to_the_answers() -> None:
    """With a gain of 0.3 concepts are answered wrong, wrong, right (abilities 0, 0.3, 0.6)."""
    ladder = Ladder(2, gain=0.3)
    taught = rollout(ladder, Targets(), ladder.request(targets=[[1]], length=9), Climber())
    assert taught.action.tolist() == [[0, 0, 0, 1, 1, 1]]
    assert taught.response.tolist() == [[0, 0, 1, 0, 0, 1]]
    torch.testing.assert_close(taught.predicted, torch.tensor([[0.0, 0.3, 0.6] * 2]))
    torch.testing.assert_close(taught.gain, torch.tensor([[0.0, 0.0, 0.0, 0.3, 0.3, 0.3]]))
    torch.testing.assert_close(taught.mastery_after, torch.tensor([[0.9, 0.9]]))
    assert (taught.score_before.tolist(), taught.score_after.tolist(), taught.score_max.tolist()) == ([0], [1], [1])
    assert taught.stopped.tolist() == [False]


def test_episodes_of_different_policies_states_end_by_themselves() -> None:
    ladder = Ladder(2, gain=0.5)
    taught = rollout(ladder, Targets(), replace(ladder.request([[1], [0]], 9), length=torch.tensor([9, 1])), Climber())
    assert taught.action.tolist() == [[0, 0, 1, 1], [0, PAD, PAD, PAD]]
    assert taught.length.tolist() == [4, 1]
    assert taught.session.concept[1, 1:, 0].tolist() == [PAD] * 3
    assert taught.response[1].tolist() == [0] * 4


def test_early_stop_ends_an_episode_once_its_exam_is_full() -> None:
    ladder = Ladder(3)
    requests = ladder.request(targets=[[0], [0, 1], [2], []], length=4)
    path = torch.tensor([[0, 1, 2, 0]] * 4)
    taught = follow_paths(ladder, Targets(), requests, path, early_stop=True)
    assert taught.length.tolist() == [1, 2, 3, 0]
    assert taught.stopped.tolist() == [True] * 4
    whole = follow_paths(ladder, Targets(), requests, path)
    assert whole.length.tolist() == [4] * 4
    assert not bool(whole.stopped.any())


def test_an_episode_that_ends_full_at_its_last_step_stopped_early() -> None:
    ladder = Ladder(2)
    taught = follow_paths(
        ladder, Targets(), ladder.request([[1], [1]], 2), torch.tensor([[0, 1], [0, 0]]), early_stop=True
    )
    assert taught.stopped.tolist() == [True, False]
    assert taught.length.tolist() == [2, 2]


def test_the_horizon_stands_in_place_of_the_wanted_length_but_for_nothing_wanted() -> None:
    ladder = Ladder(2)
    requests = replace(ladder.request([[0]] * 3, 2), length=torch.tensor([2, 0, 5]))
    assert rollout(ladder, Targets(), requests, Sampler()).length.tolist() == [2, 0, 5]
    taught = rollout(ladder, Targets(), requests, Sampler(), horizon=3)
    assert taught.length.tolist() == [3, 0, 3]
    assert taught.wanted_length.tolist() == [2, 0, 5]
    torch.testing.assert_close(taught.mastery_after[1], taught.mastery_before[1])


def test_nothing_wanted_at_all_gives_empty_paths() -> None:
    ladder = Ladder(2)
    taught = rollout(ladder, Targets(), ladder.request([[0], [1]], 0), Sampler())
    assert taught.action.shape == taught.response.shape == taught.gain.shape == (2, 0)
    assert taught.session.concept.shape == (2, 0, 1)
    assert torch.equal(taught.mastery_before, taught.mastery_after)


@pytest.mark.parametrize("group_size", [1, 3])
def test_groups_are_repeated_requests(group_size: int) -> None:
    simulator, requests = truth(), request()
    grouped = rollout(simulator, Targets(), requests, DKTRec(), group_size=group_size)
    repeated = rollout(simulator, Targets(), requests.repeat(group_size), DKTRec())
    assert same_rows(grouped, repeated)
    assert grouped.group_size == group_size
    assert torch.equal(grouped.learner, requests.learner.repeat_interleave(group_size))


def test_copies_of_a_group_draw_their_own() -> None:
    simulator, requests = truth(), request()
    grouped = rollout(simulator, Targets(), requests, Sampler(), request_draws(0, 0, requests), 3, sample=True)
    action = grouped.action.view(6, 3, 4)
    assert not bool((action[:, 0] == action[:, 1]).all())
    single = rollout(simulator, Targets(), requests, Sampler(), request_draws(0, 0, requests), sample=True)
    assert torch.equal(single.action, action[:, 0])
    assert torch.equal(single.response, grouped.response.view(6, 3, 4)[:, 0])


@pytest.mark.parametrize("policy", [Sampler(), DKTRec()], ids=["sampler", "dktrec"])
@pytest.mark.parametrize("questions", [False, True])
def test_the_same_rows_get_the_same_answers_in_any_batch(policy: Policy, questions: bool) -> None:
    simulator, requests, goal = truth(questions), request(), Targets()
    together = rollout(simulator, goal, requests, policy, request_draws(4, 2, requests), sample=True)
    assert 0 < float(together.response.mean()) < 1
    for rows in ([3], [5, 0, 2]):
        index = torch.tensor(rows)
        some = requests.select(index)
        apart = rollout(simulator, goal, some, policy, request_draws(4, 2, some), sample=True)
        assert torch.equal(apart.action, together.action[index])
        assert torch.equal(apart.response, together.response[index])


def test_other_seeds_and_steps_give_other_answers() -> None:
    simulator, requests, goal = truth(), request(), Targets()
    first, *others = (
        rollout(simulator, goal, requests, Sampler(), request_draws(seed, step, requests), 9).response
        for seed, step in ((0, 0), (1, 0), (0, 1))
    )
    assert all(not torch.equal(first, other) for other in others)


def test_requests_outside_any_split_draw_by_their_place() -> None:
    requests = replace(request(), row=torch.full((6,), PAD))
    assert len(set(request_draws(0, 0, requests).uniform().tolist())) == 6


@pytest.mark.parametrize("exam", [HardExam(), SoftExam()])
def test_gains_add_up_to_the_change_of_mean_mastery(exam: HardExam | SoftExam) -> None:
    requests = request()
    taught = rollout(truth(), Targets(exam), requests, Sampler(), request_draws(0, 0, requests), 2, sample=True)
    change = taught.mastery_after - taught.mastery_before
    mean = (change * taught.targets).sum(1) / taught.targets.sum(1)
    torch.testing.assert_close(taught.gain.sum(1), mean, atol=1e-5, rtol=0)
    assert torch.equal(taught.targets, requests.targets.repeat_interleave(2, 0))
    passed = [exam.passed(one) * taught.targets for one in (taught.mastery_before, taught.mastery_after)]
    torch.testing.assert_close(taught.score_before, passed[0].sum(1))
    torch.testing.assert_close(taught.score_after, passed[1].sum(1))


@pytest.mark.parametrize(
    "goal", [Targets(HardExam(0.4)), Targets(SoftExam()), AllConcepts(SoftExam()), WeakestConcept()]
)
@pytest.mark.parametrize("group_size", [1, 2])
def test_scores_are_the_same_without_the_mastery_of_all_concepts(goal: ConceptGoal, group_size: int) -> None:
    learners, asked = KESSimulator(ToyTracer(10)), request()
    full, short = (
        rollout(learners, goal, asked, Climber(), request_draws(0, 0, asked), group_size, report_mastery=reported)
        for reported in (True, False)
    )
    assert full.mastery_before.shape == full.mastery_after.shape == (6 * group_size, 10)
    assert short.mastery_before.shape == short.mastery_after.shape == (6 * group_size, 0)
    for name in ("score_before", "score_after", "score_max", "gain", "action", "targets"):
        torch.testing.assert_close(vars(short)[name], vars(full)[name])
    assert bool(full.gain.any())


def test_a_goal_chosen_anew_is_told_at_each_step_and_targets_are_what_steps_were_taken_for() -> None:
    ladder, policy = Ladder(3), Sampler()
    path = torch.tensor([[0, 1]])

    class Follower(Sampler):
        def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
            super().act(environment, state, concept, draws)
            return Act(path[:, len(self.seen) - 1])

    policy = Follower()
    taught = rollout(ladder, WeakestConcept(), ladder.request([[2]], 2), policy)
    assert [concept.tolist() for concept in policy.seen] == [[[0]], [[1]]]
    assert taught.targets.tolist() == [[True, True, False]]
    assert taught.gain.tolist() == [[0.5, 0.5]]
    assert (taught.score_before.tolist(), taught.score_after.tolist(), taught.score_max.tolist()) == ([0], [2], [2])


def test_a_goal_chosen_anew_stops_once_the_weakest_concept_is_mastered() -> None:
    ladder = Ladder(3)
    path = torch.tensor([[0, 1, 2, 0, 0]])
    taught = follow_paths(ladder, WeakestConcept(), ladder.request([[]], 5), path, early_stop=True)
    assert (taught.length.tolist(), taught.stopped.tolist()) == ([3], [True])
    assert taught.targets.tolist() == [[True] * 3]


def test_answers_are_those_of_the_learner_whatever_model_the_policy_looks_into() -> None:
    """DKTRec plans in a tracer; what it observes there are the true learner's answers."""
    learner, model, requests = truth(), KESSimulator(ToyTracer(10)), request()
    draws = request_draws(0, 0, requests)
    taught = rollout(learner, Targets(), requests, DKTRec(), draws, model=model)
    known, knows = model.start(requests), learner.start(requests)
    for step in range(4):
        chosen = (model.mastery(known) - 0.5).abs().argmin(1)
        assert torch.equal(taught.action[:, step], chosen)
        asked = learner.actions.at(chosen)
        answer = (learner.predict(knows, asked) > draws.fork(1).at(step).at(0).uniform()).float()
        assert torch.equal(taught.response[:, step], answer)
        known, knows = model.observe(known, asked, answer), learner.practise(knows, asked, answer)
    torch.testing.assert_close(taught.mastery_after, learner.mastery(knows))


def test_log_probabilities_are_those_of_the_steps_taken() -> None:
    ladder = Ladder(2)
    taught = rollout(ladder, Targets(), replace(ladder.request([[0]] * 2, 2), length=torch.tensor([2, 1])), Sampler())
    assert taught.log_prob is not None
    assert taught.log_prob.tolist() == [[-1.5, -1.5], [-1.5, 0.0]]
    assert rollout(ladder, Targets(), ladder.request([[0]], 2), Climber()).log_prob is None


def test_a_question_episode_of_learners_of_known_truth() -> None:
    learner, requests = truth(questions=True), request()
    taught = rollout(learner, Targets(), requests, DKTRec(), request_draws(0, 0, requests))
    assert torch.equal(taught.session.item, taught.action)
    assert torch.equal(taught.concept[..., 0], learner.item_concept[taught.action])
    state, item = learner.start(requests), torch.arange(20)
    for step in range(4):
        every = learner.actions.at(item.expand(6, -1))
        chance = learner.predict(state, every)
        assert torch.equal((chance - 0.5).abs().argmin(1), taught.action[:, step])
        torch.testing.assert_close(taught.predicted[:, step], chance.gather(1, taught.action[:, step : step + 1])[:, 0])
        state = learner.practise(state, learner.actions.at(taught.action[:, step]), taught.response[:, step])
    torch.testing.assert_close(learner.mastery(state), taught.mastery_after)


def test_a_session_is_a_log_that_continues_the_history() -> None:
    learner, requests = truth(), request()
    taught = rollout(learner, Targets(), requests, DKTRec(), request_draws(0, 0, requests))
    longer = replace(requests, history=requests.history.then(taught.session))
    torch.testing.assert_close(learner.mastery(learner.start(longer)), taught.mastery_after)


def test_kept_episodes_have_all_that_is_learned_from() -> None:
    simulator, asked = truth(), request(rows=4, length=3)
    draws = request_draws(0, 0, asked)
    goal = Targets(SoftExam())
    kept = rollout(simulator, goal, asked, Climber(), draws, group_size=2, keep=True)
    plain = rollout(simulator, goal, asked, Climber(), draws, group_size=2)
    assert same_rows(kept, plain)
    assert plain.states is None
    assert kept.states is not None
    assert kept.goals is not None
    assert kept.passed is not None
    (step,) = kept.states
    assert step.shape == (8, 4)
    assert step[:, 0].tolist() == [0] * 8
    assert torch.equal(step[:, :-1], kept.action)  # a climber's state is what it asks next
    assert torch.equal(kept.goals, kept.targets[:, None].expand(-1, 4, -1))
    assert torch.allclose(kept.passed.sum(1), kept.score_after - kept.score_before, atol=1e-5)
    assert Rollout.join([kept, plain]).states is None


def test_goals_that_are_chosen_anew_are_kept_step_by_step() -> None:
    simulator, asked = truth(), request(rows=3, length=3)
    kept = rollout(simulator, WeakestConcept(), asked, Climber(), keep=True)
    assert kept.goals is not None
    assert kept.goals.sum(2).tolist() == [[1] * 4] * 3
    assert torch.equal(kept.goals[:, :3].any(1), kept.targets)


@dataclass
class Pointer:
    """Says with each action which point it is nearest to."""

    name: str = "pointer"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        return ()

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        return Act(torch.zeros(len(concept), dtype=torch.int64), vector=torch.ones(len(concept), 5))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        return state


def test_points_are_kept() -> None:
    kept = rollout(truth(), Targets(), request(rows=2, length=3), Pointer(), keep=True)
    assert kept.vector is not None
    assert kept.vector.shape == (2, 3, 5)
