"""Neural levels with structured growth, against one learner and one answer at a time in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lpr_lightning.draws import Draws
from lpr_lightning.nets.answer_windows import AnswerWindows, random_starts
from lpr_lightning.nets.neural_growth import NeuralGrowthNet
from lpr_lightning.types import PAD, Exercise, InteractionBatch, State

CONCEPTS, HIDDEN = 4, 3
NEEDED = {1: [0], 2: [1, 3]}
EDGES = torch.tensor([(before, after) for after, several in NEEDED.items() for before in several])
Array = NDArray[np.float64]
Log = list[tuple[list[int], float]]

LOGS: list[Log] = [
    [([0], 1), ([1, 2], 0), ([2], 1), ([0, 1], 1), ([3], 0), ([2], 0), ([2], 1), ([1], 1)],
    [([3], 1), ([2, 3], 1), ([1], 0)],
    [([2], 1)],
]
"""Answers of three learners, some on two concepts."""


def batch_of(logs: list[Log]) -> InteractionBatch:
    steps = max(len(log) for log in logs)
    concept = torch.full((len(logs), steps, 2), PAD)
    correct, mask = torch.zeros(len(logs), steps).double(), torch.zeros(len(logs), steps, dtype=torch.bool)
    for row, log in enumerate(logs):
        for step, (concepts, answer) in enumerate(log):
            concept[row, step, : len(concepts)] = torch.tensor(concepts)
            correct[row, step], mask[row, step] = answer, True
    return InteractionBatch(concept, torch.full_like(concept[..., 0], PAD), correct, mask, torch.arange(len(logs)))


def shaken(edges: bool) -> NeuralGrowthNet:
    torch.manual_seed(0)
    net = NeuralGrowthNet(CONCEPTS, 5, HIDDEN)
    generator = torch.Generator().manual_seed(1)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.5, generator=generator)
    net.evidence.rate.copy_(torch.rand(CONCEPTS, generator=generator))
    net.gate.attach(EDGES if edges else None)
    return net.double()


def sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def softplus(x: Array) -> Array:
    result: Array = np.log1p(np.exp(x))
    return result


class Learner:
    """One learner, by the equations."""

    def __init__(self, net: NeuralGrowthNet, edges: bool) -> None:
        state: dict[str, Tensor] = net.state_dict()
        self.w = {name: value.double().numpy() for name, value in state.items()}
        self.edges = edges
        self.hidden, self.cell = np.zeros(HIDDEN), np.zeros(HIDDEN)
        self.read: list[tuple[list[int], float]] = []
        self.practice = np.zeros(CONCEPTS)

    def usual(self, concepts: list[int]) -> float:
        return float(np.mean([self.w["evidence.rate"][c] for c in concepts]))

    def theta(self) -> Array:
        theta: Array = self.w["read.head.weight"] @ self.hidden + self.w["read.head.bias"]
        w1, w2, w3 = 4 * self.w["evidence.weight"]
        whole = sum(y - self.usual(concepts) for concepts, y in self.read)
        for c in range(CONCEPTS):
            own = [y - self.usual(concepts) for concepts, y in self.read if c in concepts]
            said = w1 * sum(own) / (len(own) + 2) + w2 * whole / (len(self.read) + 5) + w3 * np.log1p(len(own))
            theta[c] += said
        return theta

    def levels(self) -> Array:
        d, theta = {name[9:]: value for name, value in self.w.items() if name.startswith("dynamics.")}, self.theta()
        count = np.array([sum(c in concepts for concepts, _ in self.read) for c in range(CONCEPTS)])
        near = np.clip(theta, -4, 4)
        most = 2 * sigmoid(d["shape"][0] + d["shape"][1] * near - softplus(d["shape"][2]) * near**2)
        rate = softplus(d["growth"] + self.w["concept_growth"])
        fading: Array = (1.0 + count) ** (-0.3 * softplus(d["repeated"]))
        level: Array = theta + rate * most * fading * np.log1p(self.practice)
        return level

    def logit(self, concepts: list[int]) -> float:
        return float(np.mean(self.levels()[concepts]))

    def observe(self, concepts: list[int], correct: float) -> None:
        rows = self.w["read.embedding.weight"]
        entry = np.mean([(1 - correct) * rows[c] + correct * rows[CONCEPTS + c] for c in concepts], 0)
        gates = self.w["read.lstm.weight_ih_l0"] @ entry + self.w["read.lstm.weight_hh_l0"] @ self.hidden
        i, f, g, o = np.split(gates + self.w["read.lstm.bias_ih_l0"] + self.w["read.lstm.bias_hh_l0"], 4)
        self.cell = sigmoid(f) * self.cell + sigmoid(i) * np.tanh(g)
        self.hidden = sigmoid(o) * np.tanh(self.cell)
        self.read.append((concepts, correct))
        self.practice = self.practice * np.exp(-softplus(self.w["dynamics.forgetting"]))

    def practise(self, concepts: list[int]) -> None:
        level, k = self.levels(), self.w["gate.weight"]
        self.practice = self.practice * np.exp(-softplus(self.w["dynamics.forgetting"]))
        for c in concepts:
            needed = NEEDED.get(c, []) if self.edges else []
            self.practice[c] += min([1.0] + [float(sigmoid(softplus(k[0]) * (level[j] + k[1]))) for j in needed])


def one(state: State, row: int) -> State:
    return tuple(part[row : row + 1] for part in state)


def exercise(concepts: list[int]) -> Exercise:
    return Exercise(torch.tensor([concepts]), torch.tensor([PAD]))


@pytest.mark.parametrize("edges", [True, False])
def test_answers_and_practice_follow_the_equations(edges: bool) -> None:
    net, batch = shaken(edges), batch_of(LOGS)
    encoded, (logit, place) = net.encode(batch), net.next_logits(batch)
    found = torch.full((3 * 7,), torch.nan).double().index_copy(0, place, logit.detach()).view(3, 7)
    for row, log in enumerate(LOGS):
        learner, state = Learner(net, edges), one(encoded, row)
        for step, (concepts, correct) in enumerate(log):
            if step:
                np.testing.assert_allclose(found[row, step - 1], learner.logit(concepts), atol=1e-9)
            learner.observe(concepts, correct)
        for concepts in ([2], [1, 2], [0], [1, 0], [2]):
            np.testing.assert_allclose(net.mastery(state).detach()[0].logit(), learner.levels(), atol=1e-9)
            predicted = net.predict(state, exercise(concepts)).detach().logit()
            np.testing.assert_allclose(predicted, learner.logit(concepts), atol=1e-9)
            state = net.practise(state, exercise(concepts), torch.ones(1).double())
            learner.practise(concepts)
        state = net.observe(state, exercise([2, 1]), torch.tensor([0.3]).double())
        learner.observe([2, 1], 0.3)
        np.testing.assert_allclose(net.mastery(state).detach()[0].logit(), learner.levels(), atol=1e-9)


@pytest.mark.parametrize("edges", [True, False])
def test_a_window_is_an_episode_with_residuals_added(edges: bool) -> None:
    net, batch, start = shaken(edges), batch_of(LOGS), torch.tensor([[0, 3, 6], [0, 1, 2], [0, 0, 0]])
    windows = AnswerWindows.of(batch, start, length=4)
    logit, place, within = net.training_logits(batch, windows)
    plain, same_place = net.next_logits(batch)
    torch.testing.assert_close(logit, plain)
    assert torch.equal(place, same_place)
    found, live = within.detach().view(3, 3, 4), windows.live.view(3, 3, 4)
    v1, v2 = (4 * net.dynamics["within"]).tolist()
    for row, log in enumerate(LOGS):
        for number, first in enumerate(start[row].tolist()):
            learner, seen = Learner(net, edges), log[first : first + 4]
            for concepts, correct in log[:first]:
                learner.observe(concepts, correct)
            residuals: list[tuple[list[int], float]] = []
            for step, (concepts, correct) in enumerate(seen):
                plainly = learner.logit(concepts)
                mine = [[r for others, r in residuals if c in others] for c in concepts]
                said = v1 * np.mean([sum(some) / (len(some) + 2) for some in mine])
                said += v2 * sum(r for _, r in residuals) / (step + 5)
                np.testing.assert_allclose(found[row, number, step], plainly + said, atol=1e-9)
                residuals.append((concepts, correct - float(sigmoid(np.array(plainly)))))
                learner.practise(concepts)
            assert live[row, number].tolist() == [step < len(seen) for step in range(4)]


def test_growth_by_hand() -> None:
    net = NeuralGrowthNet(2, 2, 2).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
        net.dynamics["growth"].fill_(math.log(math.e - 1))  # softplus: 1
        net.dynamics["forgetting"].fill_(math.log(math.sqrt(2) * (2 - math.sqrt(2))))  # softplus: 0.6035
    half = torch.exp(-torch.nn.functional.softplus(net.dynamics["forgetting"])).item()
    state = net.initial_state(1)
    for concept in (0, 0, 1):
        state = net.practise(state, exercise([concept]), torch.ones(1))
    # theta 0, a(0) = 1, nothing read: the logit is log(1 + m), its odds 1 + m
    expected = torch.tensor([[1 + half * (1 + half), 1 + 1.0]]).double()
    odds = net.mastery(state) / (1 - net.mastery(state))
    torch.testing.assert_close(odds, expected)


def test_practice_moves_growth_only() -> None:
    net = shaken(edges=True)
    state = net.encode(batch_of(LOGS))
    asked = Exercise.of_concepts(torch.tensor([0, 2, PAD]))
    after = net.practise(state, asked, torch.full((3,), 0.5).double())
    assert all(torch.equal(before, now) for before, now in zip(state[:-1], after[:-1], strict=True))
    assert torch.equal(state[-1][:, :2], after[-1][:, :2])
    assert (state[-1][:, 2] != after[-1][:, 2]).any(1).tolist() == [True, True, False]
    observed = net.observe(after, asked, torch.ones(3).double())
    assert all(not torch.equal(before[:2], now[:2]) for before, now in zip(after, observed, strict=True))
    assert all(torch.equal(before[2], now[2]) for before, now in zip(after, observed, strict=True))


def test_windows_do_not_see_padding_nor_what_follows_them() -> None:
    net, batch = shaken(edges=True), batch_of(LOGS)
    start, shorter = torch.tensor([[2], [0], [0]]), batch.first(torch.tensor([5, 3, 1]))
    whole = net.training_logits(batch, AnswerWindows.of(batch, start, 3))[2]
    cut = net.training_logits(shorter, AnswerWindows.of(shorter, start, 3))[2]
    live = AnswerWindows.of(batch, start, 3).live
    torch.testing.assert_close(whole[live], cut[live])
    filled = InteractionBatch(
        batch.concept.masked_fill(~batch.mask[..., None], 1),
        batch.item,
        batch.correct.masked_fill(~batch.mask, 1.0),
        batch.mask,
        batch.learner,
    )
    torch.testing.assert_close(net.training_logits(filled, AnswerWindows.of(filled, start, 3))[2], whole)


def test_moments_lie_before_an_answer_and_belong_to_the_learner() -> None:
    batch = batch_of(LOGS)
    starts = random_starts(batch, 200, Draws.of(0, 0, batch.learner))
    assert [sorted(set(row)) for row in starts.tolist()] == [list(range(8)), list(range(3)), [0]]
    alone = batch.select(torch.tensor([1]))
    assert torch.equal(random_starts(alone, 200, Draws.of(0, 0, alone.learner)), starts[1:2])


def test_windows_train_every_weight() -> None:
    net, batch = shaken(edges=True), batch_of(LOGS)
    within = net.training_logits(batch, AnswerWindows.of(batch, torch.tensor([[1, 2], [0, 1], [0, 0]]), 4))[2]
    gradients = torch.autograd.grad(within.sin().sum(), list(net.parameters()))
    assert all(bool(gradient.any()) for gradient in gradients)
