"""The network of LDSim: whole logs as step by step, windows as episodes, a fused pass as torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.functional.relation_attention import relation_attention
from lpr_lightning.nets.answer_windows import AnswerWindows
from lpr_lightning.nets.ldsim import LDSimNet
from lpr_lightning.nets.question_reader import QuestionReader
from lpr_lightning.nets.recurrent import run_padded
from lpr_lightning.nets.relation_graph import NEEDED, NEEDING, SELF, RelationGraph
from lpr_lightning.types import PAD, Exercise, InteractionBatch

N, Q = 5, 7
EDGES = torch.tensor([[0, 1], [1, 2], [0, 3]])


def shaken(layers: int = 2, most: int = 2, own_answers: bool = False) -> LDSimNet:
    torch.manual_seed(0)
    net = LDSimNet(N, QuestionReader(N, Q, 6, 7, 8, layers, most), own_answers)
    generator = torch.Generator().manual_seed(1)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.5, generator=generator)
    net.evidence.rate.copy_(torch.rand(N, generator=generator))
    net.gate.attach(EDGES)
    relations = torch.zeros(N, N)
    relations[EDGES[:, 1], EDGES[:, 0]] = torch.tensor([0.9, 0.5, 0.7])
    net.read.graph.attach(relations)
    return net.double()


def batch() -> InteractionBatch:
    generator = torch.Generator().manual_seed(2)
    concept = torch.randint(N, (4, 12, 2), generator=generator)
    concept[:, ::2, 1] = PAD
    item = torch.randint(-1, Q, (4, 12), generator=generator)
    correct = torch.randint(2, (4, 12), generator=generator).double()
    mask = torch.arange(12) < torch.tensor([12, 5, 2, 9])[:, None]
    return InteractionBatch(concept, item, correct, mask, torch.arange(4))


@pytest.mark.parametrize(("layers", "most"), [(2, 2), (0, 0)])
def test_next_logits_are_the_predictions_step_by_step(layers: int, most: int) -> None:
    net, log = shaken(layers, most).eval(), batch()
    logit, place = net.next_logits(log)
    padded = torch.zeros(4 * 11).double().index_copy(0, place, logit).view(4, 11)
    state = net.initial_state(4)
    for step in range(12):
        asked = log.asked(step)
        if step:
            there = log.mask[:, step]
            torch.testing.assert_close(padded[there, step - 1].sigmoid(), net.predict(state, asked)[there])
        state = net.observe(state, asked, log.correct[:, step])


def test_windows_without_their_own_answers_are_episodes() -> None:
    net, log = shaken().eval(), batch()
    with torch.no_grad():
        net.dynamics["within"].zero_()  # what a window's answers say about the learner
    start = torch.tensor([[0, 4], [1, 2], [1, 1], [3, 6]])
    windows = AnswerWindows.of(log, start, 5)
    found = net.practised_at(net.moments(log, net.readings(log), start), windows).view(4, 2, 5)
    for place in range(2):
        state = net.encode(log.first(start[:, place]))
        for step in range(5):
            live = windows.live.view(4, 2, 5)[:, place, step]
            asked = Exercise(
                windows.concept.view(4, 2, 5, 2)[:, place, step], windows.item.view(4, 2, 5)[:, place, step]
            )
            torch.testing.assert_close(found[live, place, step].sigmoid(), net.predict(state, asked)[live])
            state = net.practise(state, asked, torch.zeros(4).double())


def test_questions_at_moments_are_predictions_after_prefixes() -> None:
    net, log = shaken().eval(), batch()
    start = torch.tensor([[0], [2], [1], [8]])
    asked = Exercise(torch.tensor([[[0, 2], [3, PAD]]]).expand(4, -1, -1), torch.tensor([[3, PAD]]).expand(4, -1))
    found = net.asked_at(net.moments(log, net.readings(log), start), asked).sigmoid()
    torch.testing.assert_close(found, net.predict(net.encode(log.first(start[:, 0])), asked))


def test_the_fused_pass_is_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    net, log = shaken().eval(), batch()
    fused, rows = net.read.hidden_before(log)
    state = net.read.encode(log)
    plain = run_padded(net.read.lstm, net.read._embedded(log), log.mask)
    torch.testing.assert_close(fused, rows.pack(plain[0][:, :-1]))
    torch.testing.assert_close(state, plain[1])
    monkeypatch.setattr(QuestionReader, "_fused", False)
    torch.testing.assert_close(net.read.hidden_before(log)[0], fused)


def test_soft_answers_lie_between_and_carry_gradients() -> None:
    net, log = shaken().eval(), batch()
    soft = torch.full_like(log.correct, 0.3).requires_grad_()
    one = InteractionBatch(log.concept, log.item, soft, log.mask, log.learner)
    state, step = net.encode(one), net.initial_state(4)
    for place in range(2):
        step = net.observe(step, one.asked(place), soft[:, place])
    torch.testing.assert_close(state[0][2], step[0][2])  # of the learner with two answers
    state[0].sum().backward()  # type: ignore[no-untyped-call]
    assert soft.grad is not None
    assert bool((soft.grad[log.mask] != 0).all())


def test_graph_layers_are_those_of_a_loop() -> None:
    torch.manual_seed(3)
    graph = RelationGraph(3, 4, layers=1, most=2)
    weight = torch.tensor([[0.0, 0, 0], [0.8, 0, 0], [0.5, 0.3, 0]])
    graph.attach(weight)
    vector = torch.randn(3, 4)
    found, share = graph(vector)
    matrix, side = graph.matrix[0], graph.sides[0]
    expected, needed = vector.clone(), torch.zeros(3, 3)
    for a in range(3):
        total = matrix[SELF] @ vector[a]
        for kind, relation in ((NEEDED, weight), (NEEDING, weight.T)):
            moved: list[Tensor] = [matrix[kind] @ one for one in vector]
            query = torch.stack([side[kind, 0] @ one for one in moved])
            key = torch.stack([side[kind, 1] @ one for one in moved])
            attention = relation_attention(query, key, relation)[a]
            total = total + sum(attention[b] * moved[b] for b in range(3))
            if kind == NEEDED:
                needed[a] = attention
        expected[a] = vector[a] + F.elu(total)
    torch.testing.assert_close(found, expected)
    for a in range(3):
        for place, b in enumerate(graph.needed[a].tolist()):
            torch.testing.assert_close(share[a, place], needed[a, b] if b >= 0 else torch.tensor(0.0))


@pytest.mark.parametrize("own", [False, True])
def test_practice_reads_the_own_answer_or_moves_growth_alone(own: bool) -> None:
    net, log = shaken(own_answers=own).eval(), batch()
    state, asked = net.encode(log), log.asked(0)
    wrong, right = (net.practise(state, asked, torch.full((4,), answer).double()) for answer in (0.0, 1.0))
    assert torch.equal(wrong[0], right[0]) != own
    assert torch.equal(wrong[0], state[0]) != own


def test_many_concepts_are_read_by_rows_as_by_the_whole_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    net, log = shaken().eval(), batch()
    dense = net.next_logits(log)[0]
    monkeypatch.setattr("lpr_lightning.nets.question_reader._DENSE", 0)
    torch.testing.assert_close(net.next_logits(log)[0], dense)
