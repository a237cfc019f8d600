"""Nets that tell evidence from growth, against one learner and one answer at a time in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lpr_lightning.errors import SettingError
from lpr_lightning.nets.growth_net import GrowthNet, PrerequisiteGate
from lpr_lightning.nets.performance_factors import PerformanceFactorsNet
from lpr_lightning.nets.state_space import StateSpaceNet
from lpr_lightning.types import Exercise, InteractionBatch, Interactions

CONCEPTS = 5
EDGES = [(0, 1), (1, 2), (3, 2), (2, 3)]
Array = NDArray[np.float64]


def logs() -> tuple[list[list[tuple[int, int]]], InteractionBatch]:
    generator = np.random.default_rng(0)
    rows = [[(int(c), int(generator.integers(2))) for c in generator.integers(CONCEPTS, size=n)] for n in (25, 3, 12)]
    batch = Interactions.from_lists(rows).batch(torch.arange(3))
    return rows, InteractionBatch(batch.concept, batch.item, batch.correct.double(), batch.mask, batch.learner)


def shaken(net: GrowthNet, edges: bool) -> GrowthNet:
    generator = torch.Generator().manual_seed(1)
    net.start_from(torch.rand(CONCEPTS, generator=generator))
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.5, generator=generator)
    net.gate.attach(torch.tensor(EDGES) if edges else None)
    return net.double()


def numbers(net: GrowthNet) -> dict[str, Array]:
    state: dict[str, Tensor] = net.state_dict()
    return {name: value.double().numpy() for name, value in state.items()}


def sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def softplus(x: Array) -> Array:
    result: Array = np.log1p(np.exp(x))
    return result


def gate_of(concept: int, level: Array, weight: Array, edges: bool) -> float:
    needed = [before for before, after in EDGES if after == concept and edges]
    return min([1.0] + [float(sigmoid(softplus(weight[0]) * (level[one] + weight[1]))) for one in needed])


def factors_logits(net: GrowthNet, log: list[tuple[int, int]], edges: bool) -> tuple[list[float], Array]:
    """Return the logit of each answer of a log and the logits of all concepts after it."""
    w = numbers(net)
    residual, count, practice = np.zeros(CONCEPTS), np.zeros(CONCEPTS), np.zeros(CONCEPTS)
    total, logits = 0.0, []

    def levels() -> Array:
        evidence = w["evidence"][0] * total / (count.sum() + 5) + w["evidence"][1] * residual / (count + 2)
        level: Array = w["ease"] + evidence + (w["growth"] + w["concept_growth"]) * np.log1p(practice)
        return level

    for concept, correct in log:
        level = levels()
        logits.append(float(level[concept]))
        practice[concept] += gate_of(concept, level, w["gate.weight"], edges)
        residual[concept] += correct - w["rate"][concept]
        total += correct - w["rate"][concept]
        count[concept] += 1
    return logits, levels()


def space_logits(net: GrowthNet, log: list[tuple[int, int]], edges: bool) -> tuple[list[float], Array]:
    """Return the same by the textbook's filter over the full covariance."""
    w = numbers(net)
    mean, growth, count = w["prior"].copy(), np.zeros(CONCEPTS), np.zeros(CONCEPTS)
    covariance, logits = w["loading"] @ w["loading"].T + np.diag(softplus(w["variance"])), []
    least, missing = 0.5 * sigmoid(w["dynamics.bounds"])

    def chances() -> Array:
        scale = 1 / np.sqrt(1 + np.pi / 8 * np.diag(covariance))
        chance: Array = least + (1 - least - missing) * sigmoid((mean + growth) * scale)
        return chance

    for c, correct in log:
        level, scale, chance = mean + growth, 1 / np.sqrt(1 + np.pi / 8 * covariance[c, c]), chances()[c]
        logits.append(float(np.log(chance / (1 - chance))))
        reached = sigmoid(level[c] * scale)
        slope = (1 - least - missing) * reached * (1 - reached) * scale
        spread = slope**2 * covariance[c, c] + chance * (1 - chance)
        gain = covariance[:, c] * slope / spread
        mean = mean + gain * (correct - chance)
        covariance = covariance - spread * np.outer(gain, gain)
        covariance[c, c] += softplus(w["dynamics.doubt"])
        near = np.clip(mean[c] + growth[c], -4, 4)
        grown = softplus(w["dynamics.growth"] + w["concept_growth"][c]) * (1 + count[c]) ** -softplus(
            w["dynamics.repeated"]
        )
        grown *= 2 * sigmoid(
            w["dynamics.shape"][0] + w["dynamics.shape"][1] * near - softplus(w["dynamics.shape"][2]) * near**2
        )
        grown *= (1 + np.tanh(w["dynamics.outcome"]) * (2 * correct - 1)) * gate_of(c, level, w["gate.weight"], edges)
        own = growth[c] + grown
        growth = growth * (1 - sigmoid(w["dynamics.forgetting"]))
        growth[c] = own
        count[c] += 1
    chance = chances()
    return logits, np.log(chance / (1 - chance))


@pytest.mark.parametrize("edges", [True, False])
@pytest.mark.parametrize("kind", [PerformanceFactorsNet, StateSpaceNet])
def test_it_is_the_equation(kind: type[PerformanceFactorsNet] | type[StateSpaceNet], edges: bool) -> None:
    rows, batch = logs()
    torch.manual_seed(0)
    net = shaken(kind(CONCEPTS), edges)
    reference = factors_logits if kind is PerformanceFactorsNet else space_logits
    logit, place = net.next_logits(batch)
    found = torch.full((3 * 24,), torch.nan).double().index_copy(0, place, logit.detach()).view(3, 24)
    mastery = net.mastery(net.encode(batch)).detach()
    for row, log in enumerate(rows):
        logits, last = reference(net, log, edges)
        np.testing.assert_allclose(found[row, : len(log) - 1], logits[1:], atol=1e-8)
        np.testing.assert_allclose(mastery[row].logit(), last, atol=1e-8)


@pytest.mark.parametrize("kind", [PerformanceFactorsNet, StateSpaceNet])
def test_practice_moves_growth_only(kind: type[PerformanceFactorsNet] | type[StateSpaceNet]) -> None:
    net = shaken(kind(CONCEPTS), edges=True)
    state = net.encode(logs()[1])
    asked = Exercise.of_concepts(torch.tensor([0, 2, -1]))
    after = net.practise(state, asked, torch.full((3,), 0.5).double())
    for before, now in zip(state[:-1], after[:-1], strict=True):
        assert torch.equal(before, now)
    moved = (state[-1] != after[-1]).flatten(1).any(1)
    assert moved.tolist() == [True, True, False]
    observed = net.observe(state, asked, torch.ones(3).double())
    assert all(not torch.equal(before[:2], now[:2]) for before, now in zip(state, observed, strict=True))
    assert all(torch.equal(before[2], now[2]) for before, now in zip(state, observed, strict=True))


def test_penalties_by_hand() -> None:
    factors, space = PerformanceFactorsNet(2), StateSpaceNet(2, factors=1)
    assert space.penalty().item() == factors.penalty().item() == 0.0
    with torch.no_grad():
        for net in (factors, space):
            net.concept_growth.copy_(torch.tensor([1.0, 2.0]))
        space.loading.copy_(torch.tensor([[1.0], [3.0]]))
        space.dynamics["doubt"].sub_(3.0)
    assert factors.penalty().item() == 1 + 4
    assert space.penalty().item() == 1 + 4 + (1 + 1) + 9


def test_practice_behind_a_closed_gate_brings_nothing() -> None:
    net = PerformanceFactorsNet(3)
    net.gate.attach(torch.tensor([[0, 1]]))
    with torch.no_grad():
        net.gate.weight.copy_(torch.tensor([20.0, -5.0]))
    practised = net.practise(net.initial_state(1), Exercise.of_concepts(torch.tensor([[0, 1]])), torch.ones(1, 2))
    torch.testing.assert_close(practised[-1], torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))


def test_a_gate_is_loaded_with_its_prerequisites() -> None:
    gate, other = PrerequisiteGate(4), PrerequisiteGate(4)
    assert not gate.known
    gate.attach(torch.tensor([[0, 3], [1, 3], [0, 1], [0, 1]]))
    assert gate.needed.tolist() == [[-1, -1], [0, -1], [-1, -1], [0, 1]]
    other.load_state_dict(gate.state_dict())
    assert other.known
    assert other.active
    assert torch.equal(other.needed, gate.needed)
    gate.attach(None)
    assert gate.known
    assert not gate.active
    assert not gate.weight.requires_grad
    other.load_state_dict(gate.state_dict())
    assert other.known
    assert not other.active


def test_prerequisites_of_other_concepts_are_refused() -> None:
    with pytest.raises(SettingError, match="concepts from 0 to 3"):
        PrerequisiteGate(4).attach(torch.tensor([[0, 4]]))
