"""Rank correlation against ranks counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpr_lightning.functional.rank_fidelity import rank_fidelity, rank_fidelity_defined


def ranks(values: list[float]) -> list[float]:
    """Return the mean place that each value has among the sorted ones."""
    ordered = sorted(values)
    places = [[place for place, one in enumerate(ordered) if one == value] for value in values]
    return [sum(place) / len(place) for place in places]


def reference(first: list[float], second: list[float]) -> float:
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


@pytest.mark.parametrize("levels", [3, 1000])
def test_matches_ranks_counted_one_by_one(levels: int) -> None:
    """With three levels nearly all values are tied."""
    generator = torch.Generator().manual_seed(levels)
    first, second = (torch.randint(levels, (9, 17), generator=generator) / levels for _ in range(2))
    found = rank_fidelity(first, second)
    for row in range(9):
        assert float(found[row]) == pytest.approx(reference(first[row].tolist(), second[row].tolist()), abs=1e-6)


def test_by_hand() -> None:
    """1 - 6 sum d^2 / (n (n^2 - 1)) with d = (0, 1, 1, 2) is 1 - 36 / 60."""
    first, second = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[10.0, 30.0, 40.0, 20.0]])
    assert float(rank_fidelity(first, second)) == pytest.approx(0.4)


def test_only_the_order_counts() -> None:
    value = torch.rand(3, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rank_fidelity(value, 5 + 3 * value**3), torch.ones(3))
    torch.testing.assert_close(rank_fidelity(value, -value), -torch.ones(3))


def test_where_all_paths_are_alike_there_is_none() -> None:
    alike, other = torch.full((1, 4), 0.3), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert rank_fidelity(alike, other).tolist() == [0.0]
    assert not bool(rank_fidelity_defined(alike, other).any())
    assert bool(rank_fidelity_defined(other, other).all())
