"""Means over the entries that count, against a loop."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.functional.masked_mean import masked_mean


def test_matches_a_loop_and_never_looks_outside_the_mask() -> None:
    generator = torch.Generator().manual_seed(0)
    value, mask = torch.rand(5, 4, generator=generator), torch.rand(5, 4, generator=generator) < 0.5
    mask[2] = False
    rows = [[v for v, m in zip(a, b) if m] for a, b in zip(value.tolist(), mask.tolist())]
    dirty = value.masked_fill(~mask, torch.nan)
    expected = [sum(row) / len(row) if row else 0.0 for row in rows]
    assert masked_mean(dirty, mask, 1).tolist() == pytest.approx(expected)
    counted = [v for row in rows for v in row]
    assert float(masked_mean(dirty, mask)) == pytest.approx(sum(counted) / len(counted))


def test_the_gradient_outside_the_mask_is_zero() -> None:
    value = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(masked_mean(value, torch.tensor([True, False, True])), value)
    assert gradient.tolist() == [0.5, 0.0, 0.5]
