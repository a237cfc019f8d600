"""The knowledge evolution simulator follows its tracer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from toy_tracer import ToyTracer

from lpr_lightning.checks import check_simulator
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import HardExam, SoftExam, Targets
from lpr_lightning.models.dkt import DKT
from lpr_lightning.policies import follow_paths
from lpr_lightning.protocols import Simulator
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.kes import KESSimulator, Response
from lpr_lightning.types import Exercise, Interactions, PathRequest

CONCEPTS, ITEMS = 6, 9


def ask(rows: int = 4) -> PathRequest:
    generator = torch.Generator().manual_seed(0)
    log = Interactions.from_lists(
        [
            [(int(c), int(c) % 2) for c in torch.randint(CONCEPTS, (n,), generator=generator)]
            for n in (5, 0, 9, 2)[:rows]
        ]
    )
    targets = torch.rand(rows, CONCEPTS, generator=generator) < 0.5
    targets[:, 0] = True
    return PathRequest(log.batch(torch.arange(rows)), targets, torch.full((rows,), 4), log.learner, log.learner)


def simulator(response: Response = "threshold", threshold: float = 0.5) -> KESSimulator:
    torch.manual_seed(0)
    return KESSimulator(DKT(CONCEPTS, embedding_size=5, hidden_size=8), response, threshold)


def question_simulator(response: Response = "threshold") -> KESSimulator:
    bank = QuestionActions(ITEMS)
    item = torch.arange(ITEMS)
    bank.item_concepts = torch.stack([item % CONCEPTS, torch.where(item % 2 == 0, (item + 1) % CONCEPTS, -1)], 1)
    return KESSimulator(ToyTracer(CONCEPTS, ITEMS), response, actions=bank)


def path_of(rows: int, steps: int, actions: int = CONCEPTS) -> Tensor:
    return torch.randint(actions, (rows, steps), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("response", ["threshold", "bernoulli", "soft"])
@pytest.mark.parametrize("build", [simulator, question_simulator])
def test_it_passes_every_check_of_a_simulator(build: Callable[[Response], KESSimulator], response: Response) -> None:
    kes = build(response)
    assert isinstance(kes, Simulator)
    check_simulator(kes, ask(), Targets(SoftExam()))


def prefix_mastery(kes: KESSimulator, history: list[tuple[int, float]]) -> Tensor:
    """Run a whole history from the beginning."""
    state = kes.tracer.initial_state(1)
    for concept, correct in history:
        state = kes.tracer.observe(state, Exercise.of_concepts(torch.tensor([concept])), torch.tensor([correct]))
    return kes.tracer.mastery(state)[0].detach()


@pytest.mark.parametrize("response", ["threshold", "soft"])
def test_a_rollout_equals_running_the_whole_prefix_again_at_every_step(response: Response) -> None:
    kes, request, path = simulator(response), ask(), path_of(4, 5)
    followed = follow_paths(kes, Targets(SoftExam()), request, path)
    history = request.history
    for row in range(4):
        answers = [
            (int(c), float(y))
            for c, y, m in zip(history.concept[row, :, 0], history.correct[row], history.mask[row])
            if m
        ]
        for step in range(5):
            probability = float(prefix_mastery(kes, answers)[path[row, step]])
            assert float(followed.predicted[row, step]) == pytest.approx(probability, abs=1e-6)
            answer = probability if response == "soft" else float(probability >= 0.5)
            assert float(followed.response[row, step]) == pytest.approx(answer, abs=1e-6)
            answers.append((int(path[row, step]), answer))
        final = prefix_mastery(kes, answers)
        torch.testing.assert_close(followed.mastery_after[row], final)
        assert float(followed.score_after[row]) == pytest.approx(float(final[request.targets[row]].sum()), abs=1e-5)


def test_hard_exams_count_the_targets_at_or_above_the_threshold() -> None:
    kes, request, goal = simulator(), ask(), Targets(HardExam(0.45))
    state = kes.start(request)
    mastery = kes.mastery(state)
    standing = goal.assess(kes, state, goal.choose(kes, state, request))
    for row in range(4):
        expected = sum(float(mastery[row, c]) >= 0.45 for c in range(CONCEPTS) if request.targets[row, c])
        assert float(standing.score[row]) == expected
        assert float(standing.best[row]) == int(request.targets[row].sum())


@pytest.mark.parametrize(
    ("response", "expected"), [("threshold", [0, 0, 1]), ("bernoulli", [0, 1, 1]), ("soft", [0.25, 0.6, 0.75])]
)
def test_answers_without_draws_are_the_likeliest(response: Response, expected: list[float]) -> None:
    kes = simulator(response, threshold=0.7)
    assert kes.respond(torch.tensor([0.25, 0.6, 0.75]), None).tolist() == pytest.approx(expected)


def test_random_answers_follow_the_draws_and_the_probabilities() -> None:
    kes, probability = simulator("bernoulli"), torch.tensor([0.1, 0.5, 0.8]).expand(4000, -1)
    draws = Draws.of(5, 0, torch.arange(4000))
    first = kes.respond(probability, draws)
    assert torch.equal(first, kes.respond(probability, draws))
    assert first.mean(0).tolist() == pytest.approx([0.1, 0.5, 0.8], abs=0.03)


def test_early_stop_cuts_the_path_where_the_exam_is_full() -> None:
    kes, request, goal = simulator(), ask(), Targets(HardExam(0.01))
    path = torch.zeros(4, 5, dtype=torch.int64)
    assert int(follow_paths(kes, goal, request, path, early_stop=True).length.sum()) == 0
    assert int(follow_paths(kes, goal, request, path).length.sum()) == 20


def test_groups_share_their_start() -> None:
    kes, request, path, goal = simulator(), ask(), path_of(8, 5), Targets()
    grouped = follow_paths(kes, goal, request, path, group_size=2)
    repeated = follow_paths(kes, goal, request.repeat(2), path)
    torch.testing.assert_close(replace(grouped, group_size=1).mastery_after, repeated.mastery_after)
    torch.testing.assert_close(grouped.score_after, repeated.score_after)


def test_it_stays_frozen_and_in_evaluation_mode() -> None:
    kes = simulator()
    kes.train()
    assert not any(part.training for part in kes.modules())
    assert not any(weight.requires_grad for weight in kes.parameters())


def test_gradients_flow_through_expected_steps_to_the_vector_of_an_exercise() -> None:
    kes = question_simulator("soft").double()
    state, nothing = kes.start(ask()), torch.full((4,), -1)

    def value(vector: Tensor) -> Tensor:
        asked = Exercise(nothing[:, None], nothing, vector)
        probability = kes.predict(state, asked)
        after = kes.practise(state, asked, kes.respond(probability, None))
        return probability + kes.mastery(after).sum(1)

    vector = torch.randn(4, 4, generator=torch.Generator().manual_seed(2)).double().requires_grad_()
    assert torch.autograd.gradcheck(value, (vector,))
    (slope,) = torch.autograd.grad(value(vector).sum(), vector)
    assert bool((slope.abs().sum(1) > 0).all())
    assert all(weight.grad is None for weight in kes.parameters())


def test_gradients_flow_through_both_outcomes_at_once() -> None:
    """The step of a model-based critic: p V(right) + (1 - p) V(wrong)."""
    kes = question_simulator().double()
    state, nothing = kes.start(ask()), torch.full((4, 2), -1)
    vector = torch.randn(4, 4, generator=torch.Generator().manual_seed(3)).double().requires_grad_()
    asked = Exercise(nothing[..., None], nothing, vector[:, None].expand(-1, 2, -1))
    chance = kes.predict(state, asked)
    after = kes.observe(state, asked, torch.tensor([0.0, 1.0]).double().expand(4, -1))
    value = kes.mastery(after).mean(1).view(4, 2)
    (slope,) = torch.autograd.grad((chance[:, 1] * value[:, 1] + (1 - chance[:, 0]) * value[:, 0]).sum(), vector)
    for row in range(4):
        one = vector[row : row + 1].detach().requires_grad_()
        start = (state[0][row : row + 1],)
        single = Exercise(nothing[:1, :1], nothing[0, :1], one)
        p = kes.predict(start, single)
        right, wrong = (
            kes.mastery(kes.observe(start, single, torch.full((1,), y).double())).mean() for y in (1.0, 0.0)
        )
        (expected,) = torch.autograd.grad((p * right + (1 - p) * wrong).sum(), one)
        torch.testing.assert_close(slope[row], expected[0])


def test_a_question_episode_asks_questions_and_records_them() -> None:
    kes, request, path = question_simulator(), ask(), path_of(4, 5, ITEMS)
    followed = follow_paths(kes, Targets(), request, path)
    bank = kes.actions
    assert torch.equal(followed.session.item, path)
    assert torch.equal(followed.concept, bank.at(path).concept)
    replayed = kes.tracer.encode(request.history.then(followed.session))
    torch.testing.assert_close(kes.tracer.mastery(replayed), followed.mastery_after)
    for step in range(5):
        before = kes.tracer.encode(request.history.then(followed.session.first(torch.full((4,), step))))
        torch.testing.assert_close(followed.predicted[:, step], kes.tracer.predict(before, bank.at(path[:, step])))


def test_what_may_be_asked_is_saved() -> None:
    kes = question_simulator()
    again = KESSimulator(ToyTracer(CONCEPTS, ITEMS, seed=1), actions=QuestionActions(ITEMS))
    again.load_state_dict(kes.state_dict())
    path = path_of(4, 3, ITEMS)
    assert torch.equal(again.actions.at(path).concept, kes.actions.at(path).concept)


def test_questions_whose_concepts_nobody_gave_are_refused() -> None:
    with pytest.raises(SettingError, match="connect"):
        KESSimulator(ToyTracer(CONCEPTS, ITEMS), actions=QuestionActions(ITEMS)).start(ask())


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(SettingError, match="threshold"):
        simulator(threshold=threshold)


def test_an_unknown_response_is_refused() -> None:
    with pytest.raises(SettingError, match="response"):
        simulator("guess")  # type: ignore[arg-type]


def test_what_is_no_tracer_is_refused() -> None:
    with pytest.raises(SettingError, match="calls of"):
        KESSimulator(torch.nn.Identity())


def test_questions_on_the_first_concept_alone_are_known() -> None:
    bank = QuestionActions(2)
    assert not bank.connected
    bank.item_concepts = torch.zeros(2, 1, dtype=torch.int64)
    assert bank.connected
