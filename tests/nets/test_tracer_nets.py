"""What every net of a tracer must do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from lpr_lightning.nets.attention_tracer import AttentionTracer
from lpr_lightning.nets.dkt import DKTNet
from lpr_lightning.nets.growth_net import GrowthNet
from lpr_lightning.nets.multitask_lstm import MultiTaskNet
from lpr_lightning.nets.neural_growth import NeuralGrowthNet
from lpr_lightning.nets.performance_factors import PerformanceFactorsNet
from lpr_lightning.nets.question_net import QuestionNet
from lpr_lightning.nets.question_table import QuestionTable
from lpr_lightning.nets.state_space import StateSpaceNet
from lpr_lightning.nets.tracer_net import TracerNet
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import Exercise, InteractionBatch, State, repeat_rows, select_rows

CONCEPTS, ITEMS = 5, 7
LENGTHS = [6, 0, 4, 1]
MAP = torch.tensor([[0, -1], [1, 2], [2, -1], [3, 0], [4, -1], [1, -1], [0, 4]])


def question_net() -> QuestionNet:
    table = QuestionTable(ITEMS, CONCEPTS, size=4, learned_queries=True)
    table.attach(MAP)
    return QuestionNet(table, hidden_size=6, head_size=8)


def gated(net: GrowthNet) -> GrowthNet:
    net.gate.attach(torch.tensor([[0, 1], [1, 2], [3, 2]]))
    return net


NETS: dict[str, Callable[[], TracerNet]] = {
    "dkt": lambda: DKTNet(CONCEPTS, 4, 6),
    "dkt of two layers": lambda: DKTNet(CONCEPTS, 4, 6, num_layers=2),
    "attention": lambda: AttentionTracer(CONCEPTS, ITEMS, width=8, num_layers=2, num_heads=2, window=3),
    "question": question_net,
    "multitask lstm": lambda: MultiTaskNet(CONCEPTS, 4, 6),
    "multitask rnn": lambda: MultiTaskNet(CONCEPTS, 4, 6, cell="rnn"),
    "neural growth": lambda: gated(NeuralGrowthNet(CONCEPTS, 4, 6)),
    "performance factors": lambda: gated(PerformanceFactorsNet(CONCEPTS)),
    "state space": lambda: gated(StateSpaceNet(CONCEPTS, factors=3)),
}


class Case:
    """A net with random weights in double precision, and whether it tells questions of the same concepts apart."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        net = NETS[name]()
        for weight in net.parameters():
            nn.init.normal_(weight, std=0.4)
        self.net: TracerNet = net.double().eval()
        self.knows_items = name in ("attention", "question")


@pytest.fixture(params=list(NETS))
def case(request: pytest.FixtureRequest) -> Case:
    return Case(str(request.param))


def logs(soft: bool = False) -> InteractionBatch:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(6) < torch.tensor(LENGTHS)[:, None]
    item = torch.randint(ITEMS, mask.shape, generator=generator)
    item[2, 1], item[0, 3] = ITEMS + 1, -1
    correct = torch.rand(mask.shape, generator=generator, dtype=torch.float64)
    return InteractionBatch(
        concept=torch.where(mask[..., None], MAP[item.clamp(0, ITEMS - 1)], -1),
        item=torch.where(mask, item, -1),
        correct=torch.where(mask, correct if soft else correct.round(), 0.0),
        mask=mask,
        learner=torch.arange(4),
    )


def candidates() -> Exercise:
    """Three candidates for each of four learners: questions, concepts at large, several concepts, an unknown item."""
    item = torch.tensor([[0, 3, 6], [-1, -1, -1], [5, -1, ITEMS], [2, 2, 1]])
    concept = MAP[item.clamp(0, ITEMS - 1)]
    concept[1] = torch.tensor([[2, -1], [4, -1], [0, 3]])
    return Exercise(concept, item)


def close(one: State, other: State) -> None:
    for part, expected in zip(one, other, strict=True):
        torch.testing.assert_close(part, expected)


def test_it_is_a_tracer(case: Case) -> None:
    assert isinstance(case.net, Tracer)
    assert case.net.num_concepts == CONCEPTS


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("gradients", [True, False])
def test_steps_equal_the_pass_over_the_whole_log(case: Case, soft: bool, gradients: bool) -> None:
    batch, net = logs(soft), case.net
    with torch.set_grad_enabled(gradients):
        whole = net.encode(batch)
        logit, place = net.next_logits(batch)
        predicted = torch.full((4, 5), torch.nan, dtype=torch.float64).flatten()
        predicted[place] = logit.detach().sigmoid()
        for row, length in enumerate(LENGTHS):
            one, state = batch.select(torch.tensor([row])), net.initial_state(1)
            for step in range(length):
                if step:
                    expected = net.predict(state, one.asked(step)).detach()
                    torch.testing.assert_close(predicted.view(4, 5)[row, step - 1, None], expected)
                state = net.observe(state, one.asked(step), one.correct[:, step])
            close(select_rows(whole, torch.tensor([row])), state)
    assert torch.equal(place.sort().values, batch.mask[:, 1:].flatten().nonzero().squeeze(1))


def test_padding_changes_nothing(case: Case) -> None:
    batch, net = logs(), case.net
    filled = InteractionBatch(
        pad(torch.where(batch.mask[..., None], batch.concept, 3), (0, 1, 0, 2), value=-1),
        pad(torch.where(batch.mask, batch.item, 2), (0, 2), value=4),
        pad(torch.where(batch.mask, batch.correct, 1.0), (0, 2), value=1.0),
        pad(batch.mask, (0, 2)),
        batch.learner,
    )
    close(net.encode(filled), net.encode(batch))
    logit, place = net.next_logits(batch)
    wide, wide_place = net.next_logits(filled)
    torch.testing.assert_close(wide[wide_place.argsort()], logit[place.argsort()])


def test_a_learner_does_not_depend_on_the_batch(case: Case) -> None:
    batch, net, asked = logs(), case.net, candidates()
    state, right = net.encode(batch), torch.tensor([[1.0, 0.0, 1.0]] * 4).double()
    predicted, after = net.predict(state, asked), net.observe(state, asked, right)
    mastery = net.mastery(state)
    for row in range(4):
        alone = torch.tensor([row])
        own = net.encode(batch.select(alone))
        close(own, select_rows(state, alone))
        torch.testing.assert_close(net.predict(own, asked.select(alone)), predicted[alone])
        torch.testing.assert_close(net.mastery(own), mastery[alone])
        close(net.observe(own, asked.select(alone), right[alone]), select_rows(after, 3 * row + torch.arange(3)))


@pytest.mark.parametrize("gradients", [True, False])
def test_candidates_are_asked_and_observed_as_one_by_one(case: Case, gradients: bool) -> None:
    net, asked = case.net, candidates()
    correct = torch.tensor([[1.0, 0.0, 0.3], [1.0, 1.0, 0.0], [0.0, 0.5, 1.0], [0.0, 0.0, 1.0]]).double()
    with torch.set_grad_enabled(gradients):
        state = net.encode(logs())
        copies = repeat_rows(state, 3)
        torch.testing.assert_close(net.predict(state, asked).flatten(), net.predict(copies, asked.flat()))
        close(net.observe(state, asked, correct), net.observe(copies, asked.flat(), correct.flatten()))
        practised = net.practise(copies, asked.flat(), correct.flatten())
        close(net.practise(state, asked, correct), practised)
        if not isinstance(net, GrowthNet):
            close(practised, net.observe(state, asked, correct))


@pytest.mark.parametrize("gradients", [True, False])
def test_mastery_of_some_concepts_is_that_of_all_gathered(case: Case, gradients: bool) -> None:
    net, concept = case.net, torch.tensor([[0, 4], [3, 3], [1, 2], [4, 0]])
    with torch.set_grad_enabled(gradients):
        state = net.encode(logs())
        torch.testing.assert_close(net.mastery(state, concept), net.mastery(state).gather(1, concept))
        groups = net.observe(state, candidates(), torch.ones(4, 3).double())
        every = net.mastery(groups).gather(1, concept.repeat_interleave(3, 0))
        torch.testing.assert_close(net.mastery(groups, concept), every)


def test_mastery_of_a_concept_is_the_prediction_of_it_at_large(case: Case) -> None:
    net = case.net
    state = net.encode(logs())
    every = Exercise.of_concepts(torch.arange(CONCEPTS).expand(4, -1))
    torch.testing.assert_close(net.predict(state, every), net.mastery(state))


def test_an_unknown_question_is_its_concepts(case: Case) -> None:
    net, asked = case.net, candidates().select(torch.tensor([0, 2, 3])).flat()
    state = repeat_rows(select_rows(net.encode(logs()), torch.tensor([0, 2, 3])), 3)
    plain = replace(asked, item=torch.full_like(asked.item, -1))
    unknown = replace(asked, item=torch.full_like(asked.item, ITEMS))
    torch.testing.assert_close(net.predict(state, unknown), net.predict(state, plain))
    right = torch.ones(9).double()
    close(net.observe(state, unknown, right), net.observe(state, plain, right))
    known = asked.item.remainder(ITEMS + 1) < ITEMS
    differs = (net.predict(state, asked) - net.predict(state, plain)).abs() > 1e-9
    assert torch.equal(differs, known & case.knows_items)


def test_soft_answers_lie_between_and_have_gradients(case: Case) -> None:
    net, asked = case.net, candidates().select(torch.arange(4)).flat()
    state = repeat_rows(net.encode(logs()), 3)

    def mastery(correct: Tensor) -> Tensor:
        return net.mastery(net.observe(state, asked, correct))

    soft = torch.full((12,), 0.4, dtype=torch.float64, requires_grad=True)
    hard = torch.ones(12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mastery, soft)
    (gradient,) = torch.autograd.grad(mastery(hard).sum(), hard)
    assert bool((gradient != 0).all())
    torch.testing.assert_close(mastery(hard.detach()), mastery(hard))


def test_every_weight_that_serves_predictions_is_trained_by_them(case: Case) -> None:
    logit, _ = case.net.next_logits(logs())
    resting = ("concept_growth", "dynamics", "gate") if isinstance(case.net, NeuralGrowthNet) else ("path", "steps")
    names = [name for name, _ in case.net.named_parameters() if not name.startswith(resting)]
    gradients = torch.autograd.grad(logit.sin().sum(), list(case.net.parameters()), allow_unused=True)
    trained = {name for (name, _), value in zip(case.net.named_parameters(), gradients) if value is not None}
    assert trained == set(names)


def test_frozen_weights_serve_differentiable_steps(case: Case) -> None:
    net, asked = case.net, candidates()
    state = net.encode(logs())
    net.requires_grad_(False)
    with torch.inference_mode():
        net.mastery(net.observe(net.encode(logs()), asked, torch.ones(4, 3).double()))
    correct = torch.full((4, 3), 0.5, dtype=torch.float64, requires_grad=True)
    frozen_state = net.encode(logs())
    close(frozen_state, state)
    after = net.observe(frozen_state, asked, correct)
    (gradient,) = torch.autograd.grad(net.predict(after, asked.flat()).sum(), correct)
    assert bool((gradient != 0).all())


def test_nobody_and_nothing_are_no_error(case: Case) -> None:
    net = case.net.float()
    for batch in (InteractionBatch.empty(0), InteractionBatch.empty(2)):
        rows = len(batch)
        state = net.encode(batch)
        close(state, net.initial_state(rows))
        asked = Exercise.of_concepts(torch.zeros(rows, 2, dtype=torch.int64))
        assert net.predict(state, asked).shape == (rows, 2)
        after = net.observe(state, asked, torch.ones(rows, 2))
        assert net.mastery(after, torch.zeros(rows, 1, dtype=torch.int64)).shape == (2 * rows, 1)
        assert net.next_logits(batch)[0].shape == (0,)
