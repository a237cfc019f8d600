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


def test_a_path_that_stopped_may_be_shorter_but_not_longer() -> None:
    """Wanted 10: tolerance 1, penalty 1/10; 3 steps are 6 too few, 13 steps 2 too many, 9 within the tolerance."""
    length = torch.tensor([3, 3, 13, 13, 9, 0])
    stopped = torch.tensor([True, False, True, False, False, True])
    wanted = torch.full((6,), 10)
    reward = length_reward(length, wanted, stopped=stopped)
    torch.testing.assert_close(reward, torch.tensor([1.0, -0.6, -0.2, -0.2, 1.0, 1.0]))
    score = length_score(length, wanted, stopped)
    torch.testing.assert_close(score, torch.tensor([1.0, 0.3, 0.7, 0.7, 0.9, 1.0]))


def test_a_stopped_path_is_within_any_tolerance_and_penalty() -> None:
    reward = length_reward(torch.tensor([3, 3]), torch.tensor([10, 10]), 0, 0.5, torch.tensor([True, False]))
    torch.testing.assert_close(reward, torch.tensor([1.0, -3.5]))


def test_nothing_stopped_is_the_paper() -> None:
    length, wanted = torch.arange(20), torch.full((20,), 8)
    nowhere = torch.zeros(20, dtype=torch.bool)
    assert torch.equal(length_reward(length, wanted, stopped=nowhere), length_reward(length, wanted))
    assert torch.equal(length_score(length, wanted, nowhere), length_score(length, wanted))
