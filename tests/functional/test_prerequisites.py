"""Ancestors against a walk along the edges."""

from __future__ import annotations

import random

import pytest
import torch

from lpr_lightning.functional.prerequisites import ancestors, direct_prerequisites


def walked(edges: list[tuple[int, int]], concept: int) -> set[int]:
    """Return all that is needed for a concept, by following the edges back."""
    found: set[int] = set()
    waiting = [concept]
    while waiting:
        after = waiting.pop()
        fresh = {before for before, needing in edges if needing == after} - found
        found |= fresh
        waiting += fresh
    return found - {concept}


@pytest.mark.parametrize("seed", range(4))
def test_ancestors_are_all_that_edges_lead_back_to(seed: int) -> None:
    """Cycles occur among these."""
    chosen = random.Random(seed)
    edges = list({(chosen.randrange(12), chosen.randrange(12)) for _ in range(14)})
    found = ancestors(direct_prerequisites(torch.tensor(edges), 12))
    for concept in range(12):
        assert set(found[concept].nonzero().flatten().tolist()) == walked(edges, concept)


def test_a_chain_with_a_side_branch() -> None:
    needs = direct_prerequisites(torch.tensor([[0, 1], [1, 2], [3, 2]]), 5)
    assert needs.nonzero().tolist() == [[1, 0], [2, 1], [2, 3]]
    assert ancestors(needs).nonzero().tolist() == [[1, 0], [2, 0], [2, 1], [2, 3]]


def test_no_edges() -> None:
    assert not bool(ancestors(direct_prerequisites(torch.empty(0, 2, dtype=torch.int64), 3)).any())
