from __future__ import annotations

import pytest
import torch

from lpr_lightning.functional import bootstrap
from lpr_lightning.functional.bootstrap import bootstrap_mean_interval


def test_is_near_the_normal_interval() -> None:
    value = torch.randn(2000, generator=torch.Generator().manual_seed(0)) + 3
    low, high = bootstrap_mean_interval(value, 2000, seed=1)
    half = 1.96 * value.std() / 2000**0.5
    assert low.item() == pytest.approx((value.mean() - half).item(), abs=0.01)
    assert high.item() == pytest.approx((value.mean() + half).item(), abs=0.01)


def test_same_seed_same_interval_and_shift_is_paired() -> None:
    value = torch.rand(50, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    first = torch.stack(bootstrap_mean_interval(value, 300, seed=5))
    assert torch.equal(first, torch.stack(bootstrap_mean_interval(value, 300, seed=5)))
    assert not torch.equal(first, torch.stack(bootstrap_mean_interval(value, 300, seed=6)))
    torch.testing.assert_close(torch.stack(bootstrap_mean_interval(value + 1, 300, seed=5)), first + 1)


def test_global_random_numbers_are_left_alone() -> None:
    state = torch.get_rng_state()
    bootstrap_mean_interval(torch.rand(5, generator=torch.Generator().manual_seed(0)), 10, seed=0)
    assert torch.equal(state, torch.get_rng_state())


def test_pieces_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    value = torch.rand(40, generator=torch.Generator().manual_seed(3))
    whole = bootstrap_mean_interval(value, 100, seed=0)
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 280)
    assert bootstrap_mean_interval(value, 100, seed=0) == whole


def test_no_rows_give_zero() -> None:
    low, high = bootstrap_mean_interval(torch.empty(0), 10, seed=0)
    assert (low.item(), high.item()) == (0.0, 0.0)
