"""The volume of the set of all points, whatever batch or process they come from."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.pareto import hypervolume, igd_plus, non_dominated
from lpr_lightning.metrics import FrontFigures, Hypervolume

POINTS = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
REFERENCE = [0.1, 0.0, 0.2]


def test_is_the_function_over_all_batches() -> None:
    metric = Hypervolume(REFERENCE)
    metric.update(POINTS[:7])
    metric.update(POINTS[7:])
    assert metric.compute() == hypervolume(POINTS, REFERENCE)


def test_processes_are_merged() -> None:
    ranks = [Hypervolume(REFERENCE), Hypervolume(REFERENCE)]
    ranks[0].update(POINTS[:7])
    ranks[1].update(POINTS[7:])
    ranks[0].merge_state(ranks[1])
    assert ranks[0].compute() == hypervolume(POINTS, REFERENCE)


def test_is_the_volume_of_the_whole_set_by_monte_carlo() -> None:
    metric = Hypervolume(REFERENCE)
    for first in range(0, 20, 6):
        metric.update(POINTS[first : first + 6])
    low = torch.tensor(REFERENCE)
    dart = low + (1 - low) * torch.rand(200_000, 3, generator=torch.Generator().manual_seed(1))
    below = torch.zeros(len(dart), dtype=torch.bool)
    for point in POINTS:
        below |= (dart <= point).all(1)
    expected = float(below.double().mean() * (1 - low).prod())
    assert float(metric.compute()) == pytest.approx(expected, abs=5e-3)
    assert float(metric.compute()) > max(float((point - low).clamp_min(0).prod()) for point in POINTS)


def test_no_points_give_zero() -> None:
    metric = Hypervolume(REFERENCE)
    metric.update(torch.empty(0, 3))
    assert metric.compute() == 0.0


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(SettingError, match="reference"):
        Hypervolume([])
    with pytest.raises(SettingError, match="points"):
        Hypervolume(REFERENCE).update(torch.zeros(4, 2))


def test_figures_of_the_front_are_the_functions_over_all_batches_and_processes() -> None:
    ranks = [FrontFigures(REFERENCE, [1.0] * 3), FrontFigures(REFERENCE, [1.0] * 3)]
    ranks[0].update(POINTS[:7])
    ranks[0].update(POINTS[7:9])
    ranks[1].update(POINTS[9:])
    ranks[0].merge_state(ranks[1])
    figures = ranks[0].compute()
    assert figures["hypervolume"] == hypervolume(POINTS, REFERENCE)
    assert figures["non_dominated"] == non_dominated(POINTS).float().mean()
    assert figures["igd_plus"] == igd_plus(POINTS, torch.ones(1, 3))


def test_a_front_of_nothing_has_no_figures_but_volume() -> None:
    figures = FrontFigures(REFERENCE, [1.0] * 3).compute()
    assert figures["hypervolume"] == 0.0
    assert figures["non_dominated"].isnan()
    assert figures["igd_plus"].isnan()
    with pytest.raises(SettingError, match="ideal"):
        FrontFigures(REFERENCE, [1.0])
    with pytest.raises(SettingError, match="points"):
        FrontFigures(REFERENCE, [1.0] * 3).update(torch.zeros(4, 2))
