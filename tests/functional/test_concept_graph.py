"""What a graph says about concepts, against walks along their edges."""

from __future__ import annotations

import torch

from lpr_lightning.functional.concept_features import weakest
from lpr_lightning.functional.prerequisites import ancestors, direct_prerequisites


def edges_of(concepts: int, count: int, seed: int) -> list[tuple[int, int]]:
    """Return random edges, cycles included."""
    pairs = torch.randint(concepts, (count, 2), generator=torch.Generator().manual_seed(seed)).tolist()
    return [(before, after) for before, after in pairs if before != after]


def walked(edges: list[tuple[int, int]], concept: int) -> set[int]:
    """Return everything that is met on the way back from a concept, without itself."""
    found: set[int] = set()
    waiting = [concept]
    while waiting:
        here = waiting.pop()
        for before, after in edges:
            if after == here and before not in found:
                found.add(before)
                waiting.append(before)
    return found - {concept}


def test_ancestors_are_what_a_walk_back_meets() -> None:
    for seed in range(8):
        edges = edges_of(9, 12, seed)
        needs = direct_prerequisites(torch.tensor(edges), 9)
        assert {(b, a) for a, b in needs.nonzero().tolist()} == set(edges)
        for concept, row in enumerate(ancestors(needs)):
            assert set(row.nonzero().flatten().tolist()) == walked(edges, concept)


def test_the_weakest_is_the_least_mastered_prerequisite() -> None:
    mastery = torch.rand(4, 9, generator=torch.Generator().manual_seed(0))
    for seed in range(4):
        needs = direct_prerequisites(torch.tensor(edges_of(9, 14, seed)), 9)
        found = weakest(mastery, needs)
        for learner in range(4):
            for concept in range(9):
                needed = needs[concept].nonzero().flatten().tolist()
                least = min((float(mastery[learner, j]) for j in needed), default=1.0)
                assert float(found[learner, concept]) == least


def test_without_edges_nothing_is_needed() -> None:
    needs = torch.zeros(3, 3, dtype=torch.bool)
    assert not bool(needs.any())
    assert not bool(ancestors(needs).any())
    assert weakest(torch.zeros(2, 3), needs).tolist() == [[1.0] * 3] * 2
