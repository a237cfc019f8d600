"""Fast dropout drops what it should."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.nets.fast_dropout import FastDropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_it_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    ones = torch.ones(700, 301, requires_grad=True)
    dropped = FastDropout(rate)(ones)
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=0.005)
    assert float(dropped.detach().mean()) == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(torch.autograd.grad(dropped.sum(), ones)[0], dropped.detach())


def test_elements_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (FastDropout(0.5)(torch.ones(4096, 8)) > 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(8, dtype=torch.float64)
    assert float(correlation.abs().max()) < 0.06


def test_it_repeats_with_the_seed_and_rests_in_evaluation() -> None:
    values = torch.randn(5, 3)
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(FastDropout(0.5)(values))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(FastDropout(0.5).eval()(values), values)


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_nothing_and_everything(rate: float, expected: float) -> None:
    assert bool((FastDropout(rate)(torch.ones(9)) == expected).all())
