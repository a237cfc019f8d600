from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.reliability import Binning, reliability, wilson_interval
from lpr_lightning.metrics import AnswerMetrics


def example(seed: int, rows: int = 3000) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probability = torch.rand(rows, generator=generator) ** 0.5
    return probability, (torch.rand(rows, generator=generator) < probability**2).float()


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_bins_of_equal_width(bins: int) -> None:
    probability, target = example(bins)
    p, y = probability.double().numpy(), target.numpy()
    place = np.minimum((p * bins).astype(int), bins - 1)
    result = reliability(probability, target, bins)
    assert result.count.tolist() == [(place == b).sum() for b in range(bins) if (place == b).any()]
    assert result.predicted.tolist() == pytest.approx([p[place == b].mean() for b in range(bins) if (place == b).any()])
    assert result.observed.tolist() == pytest.approx([y[place == b].mean() for b in range(bins) if (place == b).any()])


def test_errors_are_those_that_are_logged() -> None:
    probability, target = example(1)
    metric = AnswerMetrics()
    metric.update(probability, target)
    logged, result = metric.compute(), reliability(probability, target, 15)
    assert result.ece == pytest.approx(float(logged["ece"]), abs=1e-6)
    assert result.brier == pytest.approx(float(logged["brier"]), abs=1e-6)


def test_bins_of_equal_count() -> None:
    probability, target = example(2)
    result = reliability(probability, target, 10, "count")
    assert result.count.tolist() == [300] * 10
    order = probability.argsort()
    assert result.predicted.tolist() == pytest.approx(probability.double()[order].view(10, 300).mean(1).tolist())
    assert result.observed.tolist() == pytest.approx(target[order].view(10, 300).mean(1).tolist())


@pytest.mark.parametrize("binning", ["width", "count"])
def test_order_of_rows_does_not_matter(binning: Binning) -> None:
    probability, target = example(3)
    probability = (probability * 8).round() / 8  # many equal predictions
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))
    one, other = (
        reliability(probability, target, 10, binning),
        reliability(probability[order], target[order], 10, binning),
    )
    assert one.observed.tolist() == pytest.approx(other.observed.tolist())
    assert one.count.tolist() == other.count.tolist()


def test_ends_of_the_range_have_a_place() -> None:
    result = reliability(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]), 4)
    assert (result.count.tolist(), result.ece, result.brier) == ([1, 1], 0.0, 0.0)


def test_no_predictions() -> None:
    for binning in get_args(Binning):
        result = reliability(torch.empty(0), torch.empty(0), 5, binning)
        assert (len(result.count), result.ece, result.brier) == (0, 0.0, 0.0)


@pytest.mark.parametrize(("level", "z"), [(0.8, 1.2815515655446004), (0.95, 1.959963984540054)])
@pytest.mark.parametrize(("successes", "count"), [(0, 3), (2, 3), (40, 90), (90, 90)])
def test_share_is_z_deviations_from_both_ends_of_its_interval(
    successes: int, count: int, level: float, z: float
) -> None:
    low, high = (float(end) for end in wilson_interval(torch.tensor([successes]), torch.tensor([count]), level))
    share = successes / count
    for end in (low, high):
        assert abs(share - end) == pytest.approx(z * np.sqrt(end * (1 - end) / count), abs=1e-7)
    assert 0 <= low <= share <= high <= 1
    assert low < high


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(SettingError, match="bins"):
        reliability(torch.rand(2), torch.ones(2), 0)
    with pytest.raises(SettingError, match="binning"):
        reliability(torch.rand(2), torch.ones(2), 2, "size")  # type: ignore[arg-type]
