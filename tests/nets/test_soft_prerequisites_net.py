"""The net that learns prerequisites, against one learner and one answer at a time in NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lpr_lightning.errors import SettingError
from lpr_lightning.nets.performance_factors import PerformanceFactorsNet
from lpr_lightning.nets.soft_prerequisites import SoftPrerequisitesNet, levels_before
from lpr_lightning.types import Interactions

CONCEPTS = 4
CANDIDATES = [(0, 1), (0, 2), (1, 2), (2, 3)]
ROWS = [[([0], 1), ([1, 2], 0), ([2], 1), ([2, 3], 1), ([3], 0)], [], [([2], 0), ([1], 1), ([2, 1], 1), ([2], 0)]]


def told(message: str) -> None:
    return None


def log() -> Interactions:
    plain = Interactions.from_lists([[(0, y) for _, y in row] for row in ROWS])
    cells = [concept + [-1] * (2 - len(concept)) for row in ROWS for concept, _ in row]
    return Interactions(plain.offsets, plain.learner, plain.item, torch.tensor(cells).int(), plain.correct)


def tracer() -> PerformanceFactorsNet:
    net = PerformanceFactorsNet(CONCEPTS)
    for number, weight in enumerate(net.parameters()):
        nn.init.normal_(weight, std=0.8, generator=torch.Generator().manual_seed(number))
    return net.eval()


def made() -> SoftPrerequisitesNet:
    candidate = torch.zeros(CONCEPTS, CONCEPTS, dtype=torch.bool)
    for needed, needing in CANDIDATES:
        candidate[needing, needed] = True
    net = SoftPrerequisitesNet(candidate, torch.tensor([0.3, 0.5, 0.6, 0.8]))
    for number, weight in enumerate(net.parameters()):
        nn.init.normal_(weight, std=0.8, generator=torch.Generator().manual_seed(10 + number))
    return net


def levels(row: list[tuple[list[int], int]], steps: int) -> list[float]:
    """Return the tracer's logits of all concepts after the first answers of a learner."""
    follower = tracer()
    history = Interactions.from_lists([[(0, y) for _, y in row]]).batch(torch.arange(1))
    history = replace(history, concept=torch.tensor([[c + [-1] * (2 - len(c)) for c, _ in row]]))
    state = follower.encode(history.first(torch.tensor([steps])))
    return [float(one) for one in follower.mastery(state)[0].detach().logit()]


def slow(net: SoftPrerequisitesNet) -> list[float]:
    """Return the logit of each answer."""
    ease, w, rate = net.ease.tolist(), net.evidence.tolist(), net.rate.tolist()
    growth = [net.growth.item() + d for d in net.concept_growth.tolist()]
    strength = net.strengths().tolist()
    steep, shift = np.log1p(np.exp(net.weight[0].item())), net.weight[1].item()
    logits = []
    for row in ROWS:
        total, times = 0.0, 0
        own, count, practice = [0.0] * CONCEPTS, [0] * CONCEPTS, [0.0] * CONCEPTS
        for step, (concept, y) in enumerate(row):
            level = levels(row, step)
            each = [
                ease[c]
                + w[0] * total / (times + 5)
                + w[1] * own[c] / (count[c] + 2)
                + growth[c] * np.log1p(practice[c])
                for c in concept
            ]
            logits.append(float(np.mean(each)))
            residual = y - float(np.mean([rate[c] for c in concept]))
            total, times = total + residual, times + 1
            for c in concept:
                own[c], count[c] = own[c] + residual, count[c] + 1
                gate = 1.0
                for j in range(CONCEPTS):
                    gate *= 1 - strength[c][j] / (1 + np.exp(steep * (level[j] + shift)))
                practice[c] += gate
    return logits


def test_logits_are_those_of_one_answer_after_another() -> None:
    net = made()
    read = net.read(log(), tracer(), told)
    assert net(read).tolist() == pytest.approx(slow(net), abs=1e-4)
    assert float(net.losses(read).mean()) == pytest.approx(float(net.loss(read)))


def test_strengths_are_those_of_candidates_alone() -> None:
    net = made()
    found = net.strengths()
    assert [(int(j), int(c)) for c, j in found.nonzero()] == sorted(CANDIDATES, key=lambda edge: edge[::-1])
    assert float(found[3, 2]) == pytest.approx(float(net.strength[3, 0].sigmoid()))


def test_levels_are_those_before_each_answer() -> None:
    net = made()
    found = levels_before(log(), tracer(), net.candidate, told)
    assert found[4, 0, 0] == pytest.approx(levels(ROWS[0], 4)[2], abs=1e-4)
    assert found[2, 0, :2].tolist() == pytest.approx(levels(ROWS[0], 2)[:2], abs=1e-4)
    assert found[8, 0, :2].tolist() == pytest.approx(levels(ROWS[2], 3)[:2], abs=1e-4)


def test_one_step_changes_every_weight() -> None:
    net = made()
    read, before = net.read(log(), tracer(), told), [weight.clone() for weight in net.parameters()]
    net.loss(read).backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(net.parameters(), 0.1).step()
    for (name, weight), old in zip(net.named_parameters(), before, strict=True):
        assert not torch.equal(weight, old), name


def test_without_edges_nothing_is_held_back_and_the_rest_is_fitted() -> None:
    net = made()
    read = net.read(log(), tracer(), told)
    strength, before = net.strength.clone(), float(net.loss(read.mastered()))
    net.fit_factors(read)
    assert float(net.loss(read.mastered())) < before - 0.1
    assert torch.equal(net.strength, strength)
    shut = made()
    shut.load_state_dict(net.state_dict())
    nn.init.constant_(shut.strength, -40.0)
    assert torch.allclose(shut(read), net(read.mastered()))


def test_the_best_step_for_validation_learners_is_kept() -> None:
    net = made()
    heard: list[str] = []
    read = net.read(log(), tracer(), told)
    net.fit_edges(read, read, 1e-3, heard.append)
    assert float(net.loss(read)) == pytest.approx(min(float(one.rpartition(" ")[2]) for one in heard), abs=1e-5)


def test_a_matrix_that_is_not_square_is_refused() -> None:
    with pytest.raises(SettingError, match="square"):
        SoftPrerequisitesNet(torch.zeros(2, 3, dtype=torch.bool), torch.full((2,), 0.5))
