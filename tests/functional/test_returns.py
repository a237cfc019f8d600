"""Returns and advantages against loops."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.functional.returns import generalised_advantage, n_step_return


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_n_step_returns_equal_a_loop(steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    reward, length = torch.randn(6, 4, generator=generator), torch.tensor([4, 3, 2, 1, 4, 4])
    place = torch.tensor([0, 1, 1, 0, 3, 2])
    total, end, left = n_step_return(reward, length, place, steps, 0.9)
    for row in range(6):
        wanted, factor, at = 0.0, 1.0, int(place[row])
        for _ in range(steps):
            if at == int(length[row]):
                break
            wanted += factor * float(reward[row, at])
            factor, at = factor * 0.9, at + 1
        assert float(total[row]) == pytest.approx(wanted, abs=1e-6)
        assert int(end[row]) == at
        assert float(left[row]) == pytest.approx(0.0 if at == int(length[row]) else factor, abs=1e-6)


def test_advantages_equal_the_weighted_sum_of_errors() -> None:
    generator = torch.Generator().manual_seed(0)
    reward, value = (torch.randn(3, 5, generator=generator) for _ in range(2))
    length = torch.tensor([5, 3, 1])
    mask = torch.arange(5) < length[:, None]
    found = generalised_advantage(reward, value, mask, 0.9, 0.7)
    for row in range(3):
        last = int(length[row])
        for step in range(last):
            wanted = 0.0
            for later in range(step, last):
                following = float(value[row, later + 1]) if later + 1 < last else 0.0
                error = float(reward[row, later]) + 0.9 * following - float(value[row, later])
                wanted += (0.9 * 0.7) ** (later - step) * error
            assert float(found[row, step]) == pytest.approx(wanted, abs=1e-5)
    assert not found[~mask].any()


def test_by_hand() -> None:
    reward, value, every = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 4.0]]), torch.ones(1, 2).bool()
    # errors: 1 + .5 * 4 - .5 = 2.5 and 2 - 4 = -2
    assert torch.allclose(generalised_advantage(reward, value, every, 0.5, 0.0), torch.tensor([[2.5, -2.0]]))
    assert torch.allclose(generalised_advantage(reward, value, every, 0.5, 0.5), torch.tensor([[2.0, -2.0]]))
