from __future__ import annotations

import torch

from lpr_lightning.functional.learning_effect import learning_effect, learning_effect_defined, soft_gain


def test_matches_plain_arithmetic() -> None:
    generator = torch.Generator().manual_seed(0)
    before, after, maximum = torch.randint(0, 6, (3, 200), generator=generator).float()
    expected = [
        (e - s) / (m - s) if m > s else 0.0
        for s, e, m in zip(before.tolist(), after.tolist(), maximum.tolist(), strict=True)
    ]
    torch.testing.assert_close(learning_effect(before, after, maximum), torch.tensor(expected))
    assert learning_effect_defined(before, maximum).tolist() == [
        m > s for s, m in zip(before.tolist(), maximum.tolist(), strict=True)
    ]


def test_is_not_clamped() -> None:
    effect = learning_effect(torch.tensor([4.0]), torch.tensor([0.0]), torch.tensor([5.0]))
    assert effect.item() == -4.0


def test_gradient_is_finite_where_undefined() -> None:
    after = torch.tensor([2.0, 5.0], requires_grad=True)
    learning_effect(torch.tensor([0.0, 5.0]), after, torch.tensor([4.0, 5.0])).sum().backward()  # type: ignore[no-untyped-call]
    assert after.grad is not None
    assert after.grad.tolist() == [0.25, 0.0]


def test_soft_gain_averages_targets_only() -> None:
    before = torch.tensor([[0.2, 0.4, 0.0], [1.0, 1.0, 0.0], [0.5, 0.5, 0.5]])
    after = torch.tensor([[0.6, 0.8, 1.0], [0.9, 0.9, 0.0], [0.9, 0.9, 0.9]])
    targets = torch.tensor([[True, True, False], [True, True, False], [False, False, False]])
    expected = torch.tensor([(0.7 - 0.3) / 0.7, -0.1 / 0.01, 0.0])
    torch.testing.assert_close(soft_gain(before, after, targets), expected)
