"""Paired differences against NumPy, over batches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lpr_lightning.metrics import PairedDifference


def test_matches_numpy_over_batches_and_leaves_rows_out() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(40, generator=generator), torch.randn(40, generator=generator)
    counts = torch.rand(40, generator=generator) < 0.7
    metric, other = PairedDifference(), PairedDifference()
    metric.update(first[:13], second[:13], counts[:13])
    other.update(first[13:], second[13:], counts[13:])
    other.merge_state(metric)
    mean, error = other.compute()
    difference = (first - second)[counts].double().numpy()
    assert float(mean) == pytest.approx(difference.mean(), abs=1e-6)
    assert float(error) == pytest.approx(difference.std(ddof=1) / math.sqrt(len(difference)), abs=1e-6)
    assert np.isfinite(float(error))


def test_few_rows() -> None:
    metric = PairedDifference()
    assert [float(value) for value in metric.compute()] == [0.0, 0.0]
    metric.update(torch.tensor([2.0]), torch.tensor([0.5]), torch.tensor([True]))
    mean, error = metric.compute()
    assert float(mean) == 1.5
    assert math.isnan(float(error))
