"""Neighbours of a concept, against walks from concept to concept."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.functional.navigation import neighbourhood


def walked(needs: list[list[int]], hops: int) -> list[set[int]]:
    """Return the neighbours of each concept by walking, given what each needs."""
    found = []
    for concept in range(len(needs)):
        back = {concept}
        for _ in range(hops):
            back |= {earlier for one in back for earlier in needs[one]}
        found.append(back | {later for later, wanted in enumerate(needs) if set(wanted) & back})
    return found


@pytest.mark.parametrize("hops", [0, 1, 2, 3])
def test_neighbours_are_those_that_a_walk_finds(hops: int) -> None:
    marks = torch.rand(12, 12, generator=torch.Generator().manual_seed(hops)) < 0.12
    needs = marks.tril(-1)
    listed = [row.nonzero().flatten().tolist() for row in needs]
    near = neighbourhood(needs, hops)
    assert [set(row.nonzero().flatten().tolist()) for row in near] == walked(listed, hops)
