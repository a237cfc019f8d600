"""Order, gates of uncertain edges and sums over earlier entries, against one learner and one pair at a time."""

from __future__ import annotations

import math
import random

import pytest
import torch

from lpr_lightning.functional.course_order import course_order
from lpr_lightning.functional.prerequisites import ancestors
from lpr_lightning.functional.soft_prerequisites import Earlier, candidate_prerequisites, soft_gate
from lpr_lightning.types import Interactions

CONCEPTS = 6
Log = list[list[list[int]]]


def logs(seed: int) -> tuple[Log, Interactions]:
    """Return answers on one or two concepts each, of learners some of whom have none, as lists and as a log."""
    chosen = random.Random(seed)
    rows = [
        [chosen.sample(range(CONCEPTS), chosen.choice([1, 1, 2])) for _ in range(chosen.randrange(9))]
        for _ in range(300)
    ]
    flat = [answer for row in rows for answer in row]
    log = Interactions.from_lists([[(0, chosen.randrange(2)) for _ in row] for row in rows])
    concept = torch.tensor([answer + [-1] * (2 - len(answer)) for answer in flat], dtype=torch.int32)
    return rows, Interactions(log.offsets, log.learner, log.item, concept, log.correct)


def first(row: list[list[int]], concept: int) -> float:
    return next((step for step, answer in enumerate(row) if concept in answer), math.inf)


@pytest.mark.parametrize("seed", range(3))
def test_order_is_that_of_each_pair_of_each_learner(seed: int) -> None:
    rows, log = logs(seed)
    order = course_order(log, CONCEPTS)
    for c in range(CONCEPTS):
        places = [first(row, c) / len(row) for row in rows if first(row, c) < math.inf]
        assert float(order.place[c]) == pytest.approx(sum(places) / len(places), abs=1e-6)
        for j in range(CONCEPTS):
            both = [row for row in rows if max(first(row, c), first(row, j)) < math.inf]
            assert int(order.both[c, j]) == len(both)
            share = sum(first(row, j) < first(row, c) for row in both) / len(both)
            assert float(order.before[c, j]) == pytest.approx(share, abs=1e-6)


def test_candidates_are_met_first_by_enough_of_enough_learners_and_form_no_cycle() -> None:
    # 0 before 1 before 2 before 0 by two of three learners each: a cycle, but for the place in the course
    rows = [[0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 0, 1]]
    order = course_order(Interactions.from_lists([[(c, 1) for c in row] for row in rows]), 3)
    found = candidate_prerequisites(order)
    assert not ancestors(found).diagonal().any()
    assert (ancestors(found) & ancestors(found).T).sum() == 0
    assert found.nonzero().tolist() == [[0, 2], [1, 0]]
    assert float(order.before[2, 1]) == 0.5
    assert candidate_prerequisites(order, share=0.8).sum() == 0
    assert candidate_prerequisites(order, learners=5).sum() == 0


def test_a_concept_that_nobody_met_has_no_candidates() -> None:
    order = course_order(Interactions.from_lists([[(0, 1), (1, 1)]]), 3)
    assert candidate_prerequisites(order).nonzero().tolist() == [[1, 0]]


def test_the_gate_is_the_product_over_edges() -> None:
    generator = torch.Generator().manual_seed(0)
    level = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    strength = torch.rand(5, 3, generator=generator, dtype=torch.float64)
    weight = torch.tensor([0.7, -0.4], dtype=torch.float64)
    steep = math.log1p(math.exp(0.7))
    expected = []
    for row in range(5):
        product = 1.0
        for z, a in zip(level[row].tolist(), strength[row].tolist(), strict=True):
            product *= 1 - a * (1 - 1 / (1 + math.exp(-steep * (z - 0.4))))
        expected.append(product)
    assert soft_gate(level, strength, weight).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_gate_by_hand() -> None:
    """With k1 = softplus^-1(1) = log(e - 1): held 1/2 and 3/4; edges 1 and .4 leave 1/2 and 1 - .4 / 4."""
    weight = torch.tensor([math.log(math.e - 1), 0.0])
    gate = soft_gate(torch.tensor([0.0, math.log(3)]), torch.tensor([1.0, 0.4]), weight)
    assert float(gate) == pytest.approx(0.5 * 0.9)
    assert float(soft_gate(torch.tensor([-9.0]), torch.tensor([0.0]), weight)) == 1.0


def test_earlier_entries_are_summed_within_each_group_with_gradients() -> None:
    chosen = random.Random(1)
    group = [chosen.randrange(7) for _ in range(200)]
    value = torch.rand(200, generator=torch.Generator().manual_seed(2), requires_grad=True)
    found, plain = Earlier(torch.tensor(group)).sums(value), value.tolist()
    for place in range(200):
        expected = sum(plain[one] for one in range(place) if group[one] == group[place])
        assert found[place].item() == pytest.approx(expected, abs=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), value)
    later = [sum(group[one] == group[place] for one in range(place + 1, 200)) for place in range(200)]
    assert gradient.tolist() == pytest.approx(later)
    assert Earlier(torch.zeros(0, dtype=torch.int64)).sums(torch.zeros(0)).shape == (0,)


def test_sums_over_many_entries_lose_nothing() -> None:
    group = torch.arange(100_000) // 10
    assert Earlier(group).sums(torch.full((100_000,), 0.1))[-1] == pytest.approx(0.9, abs=1e-6)
