from __future__ import annotations

import pytest
import torch

from lpr_lightning.functional.length import default_tolerance, length_reward, length_score


@pytest.mark.parametrize("tolerance", [None, 0, 3])
@pytest.mark.parametrize("penalty", [None, 0.5])
def test_reward_matches_equation_3(tolerance: int | None, penalty: float | None) -> None:
    generator = torch.Generator().manual_seed(1)
    length = torch.randint(0, 45, (300,), generator=generator)
    wanted = torch.randint(1, 25, (300,), generator=generator)
    expected = []
    for steps, target in zip(length.tolist(), wanted.tolist(), strict=True):
        tau = tolerance if tolerance is not None else (0 if target <= 5 else 1 if target <= 10 else 2)
        rate = penalty if penalty is not None else 1 / target
        gap = abs(steps - target)
        expected.append(1.0 if gap <= tau else -rate * (gap - tau))
    torch.testing.assert_close(length_reward(length, wanted, tolerance, penalty), torch.tensor(expected))


def test_score_matches_equation_13() -> None:
    length, wanted = torch.tensor([0, 3, 5, 8, 11, 0]), torch.tensor([5, 5, 5, 5, 5, 0])
    torch.testing.assert_close(length_score(length, wanted), torch.tensor([0.0, 0.6, 1.0, 0.4, 0.0, 1.0]))


def test_default_tolerance_steps_at_five_and_ten() -> None:
    assert default_tolerance(torch.tensor([1, 5, 6, 10, 11, 40])).tolist() == [0, 0, 1, 1, 2, 2]
