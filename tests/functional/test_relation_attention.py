"""Attention along relations and where these come from, against loops."""

from __future__ import annotations

import math

import torch

from lpr_lightning.functional.concept_relations import LEARNERS, relation_weights, strongest, without_two_cycles
from lpr_lightning.functional.relation_attention import SLOPE, relation_attention
from lpr_lightning.types import Interactions


def test_attention_is_that_of_a_loop() -> None:
    torch.manual_seed(0)
    query, key, weight = torch.randn(5), torch.randn(5), torch.rand(5, 5) * (torch.rand(5, 5) < 0.6)
    weight[3] = 0
    found = relation_attention(query, key, weight)
    for a in range(5):
        related = [b for b in range(5) if weight[a, b] > 0]
        score = {}
        for b in related:
            z = float(query[a] + key[b])
            score[b] = math.exp(z if z > 0 else SLOPE * z) * float(weight[a, b])
        for b in range(5):
            expected = score[b] / sum(score.values()) if b in score else 0.0
            assert abs(float(found[a, b]) - expected) < 1e-6


def test_a_concept_without_relations_gives_no_gradient_that_is_not_finite() -> None:
    query = torch.zeros(2, requires_grad=True)
    relation_attention(query, query, torch.tensor([[0.0, 1.0], [0.0, 0.0]])).sum().backward()  # type: ignore[no-untyped-call]
    assert query.grad is not None
    assert bool(query.grad.isfinite().all())


def test_relations_need_an_order_a_correlation_and_enough_learners() -> None:
    able, weak = [(0, 1), (1, 1), (2, 0)], [(0, 0), (1, 0), (2, 1)]
    few = Interactions.from_lists([able, weak] * (LEARNERS // 2 - 1))
    assert not bool(relation_weights(few, 3).any())
    enough = relation_weights(Interactions.from_lists([able, weak] * LEARNERS), 3)
    assert enough.nonzero().tolist() == [[1, 0]]  # 2 comes last, but goes against the others


def test_the_graph_keeps_the_strongest_and_no_cycle_of_two() -> None:
    weight = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    one_way = without_two_cycles(weight)
    assert not bool(((one_way > 0) & (one_way.T > 0)).any())
    assert not bool(one_way.diagonal().any())
    assert bool((torch.maximum(one_way, one_way.T) == torch.maximum(weight, weight.T).fill_diagonal_(0)).all())
    kept = strongest(weight, 2)
    for row, few in zip(weight, kept, strict=True):
        assert sorted(few[few > 0].tolist()) == sorted(row.tolist())[-2:]
