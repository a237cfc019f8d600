from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.pareto import hypervolume, igd_plus, non_dominated


def test_non_dominated_matches_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randint(0, 5, (60, 3), generator=generator).float()
    rows = points.tolist()
    expected = [
        not any(all(b >= a for a, b in zip(own, other, strict=True)) and other != own for other in rows) for own in rows
    ]
    assert non_dominated(points).tolist() == expected


def test_hypervolume_matches_counting_cells() -> None:
    generator = torch.Generator().manual_seed(1)
    points = torch.randint(-1, 6, (12, 3), generator=generator)
    cells = {
        (x, y, z)
        for a, b, c in points.tolist()
        for x in range(max(a, 0))
        for y in range(max(b, 0))
        for z in range(max(c, 0))
    }
    assert hypervolume(points.float(), [0.0, 0.0, 0.0]).item() == len(cells)


def test_points_below_the_reference_add_nothing() -> None:
    points = torch.tensor([[1.0, 1.0], [9.0, -1.0]])
    assert hypervolume(points, [0.0, 0.0]).item() == 1.0
    assert hypervolume(points[1:], torch.zeros(2)).item() == 0.0


def test_no_points() -> None:
    assert hypervolume(torch.empty(0, 2), [0.0, 0.0]).item() == 0.0
    assert non_dominated(torch.empty(0, 2)).tolist() == []


def test_wrong_reference_is_refused() -> None:
    with pytest.raises(SettingError, match="reference"):
        hypervolume(torch.zeros(3, 2), [0.0])


def test_hypervolume_matches_inclusion_and_exclusion_of_boxes() -> None:
    """Summed over all subsets of points: the box below their least values, with alternating signs."""
    points = torch.rand(7, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    reference = [0.2, 0.1, 0.0, 0.3]
    expected = 0.0
    for size in range(1, 8):
        for subset in combinations(points.tolist(), size):
            sides = [max(min(values) - low, 0.0) for values, low in zip(zip(*subset), reference)]
            expected -= (-1) ** size * math.prod(sides)
    assert hypervolume(points, reference).item() == pytest.approx(expected, rel=1e-6)


def test_a_point_that_is_not_a_number_has_no_volume() -> None:
    assert hypervolume(torch.tensor([[1.0, 1.0], [torch.nan, 2.0]]), [0.0, 0.0]).isnan()


def test_distance_from_a_reference_set_matches_loops() -> None:
    generator = torch.Generator().manual_seed(3)
    points, wanted = (torch.rand(count, 3, generator=generator, dtype=torch.float64) for count in (9, 4))
    nearest = [
        min(math.sqrt(sum(max(z - p, 0.0) ** 2 for z, p in zip(goal, point))) for point in points.tolist())
        for goal in wanted.tolist()
    ]
    assert igd_plus(points, wanted).item() == pytest.approx(sum(nearest) / 4, rel=1e-5)
    assert igd_plus(points + 2, wanted).item() == 0.0
    assert igd_plus(torch.empty(0, 3), wanted).isnan()
    with pytest.raises(SettingError, match="reference"):
        igd_plus(points, wanted[:, :2])


def test_a_point_alone_is_not_dominated() -> None:
    assert non_dominated(torch.tensor([[0.0, 1.0]])).tolist() == [True]
