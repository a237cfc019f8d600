"""Targets and losses of action values against loops."""

from __future__ import annotations

import math

import pytest
import torch

from lpr_lightning.functional.q_learning import atoms_loss, double_q_target, explored, greedy, projected, td_loss


def test_double_targets_equal_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    reward, discount = torch.randn(6, generator=generator), torch.tensor([1.0, 0.9, 0.0, 0.5, 0.9, 1.0])
    online, target = (torch.randn(6, 4, generator=generator) for _ in range(2))
    allowed = torch.rand(6, 4, generator=generator) < 0.6
    allowed[:, 2] = True
    for double in (True, False):
        found = double_q_target(reward, discount, online, target, allowed, double)
        for row in range(6):
            judge = online if double else target
            best = max((a for a in range(4) if allowed[row, a]), key=lambda a: float(judge[row, a]))
            wanted = float(reward[row]) + float(discount[row]) * float(target[row, best])
            assert float(found[row]) == pytest.approx(wanted, abs=1e-6)


def test_what_may_not_be_taken_is_no_target() -> None:
    value = torch.tensor([[9.0, 1.0]])
    allowed = torch.tensor([[False, True]])
    assert greedy(value, allowed).tolist() == [1]
    assert double_q_target(torch.zeros(1), torch.ones(1), value, value, allowed).tolist() == [1.0]


def loop_projection(reward: float, discount: float, chance: list[float], atoms: list[float]) -> list[float]:
    """Return algorithm 1 of arXiv 1707.06887."""
    step, found = atoms[1] - atoms[0], [0.0] * len(atoms)
    for p, z in zip(chance, atoms):
        place = (min(max(reward + discount * z, atoms[0]), atoms[-1]) - atoms[0]) / step
        lower, upper = math.floor(place + 1e-9), math.ceil(place - 1e-9)
        if lower == upper:
            found[lower] += p
        else:
            found[lower] += p * (upper - place)
            found[upper] += p * (place - lower)
    return found


def test_projections_equal_algorithm_1() -> None:
    generator = torch.Generator().manual_seed(1)
    reward, discount = torch.randn(8, generator=generator), torch.rand(8, generator=generator)
    discount[0] = 0.0
    chance = torch.rand(8, 7, generator=generator).softmax(1)
    atoms = torch.linspace(-1, 2, 7)
    found = projected(reward, discount, chance, atoms)
    assert torch.allclose(found.sum(1), torch.ones(8))
    for row in range(8):
        wanted = loop_projection(float(reward[row]), float(discount[row]), chance[row].tolist(), atoms.tolist())
        assert found[row].tolist() == pytest.approx(wanted, abs=1e-5)


def test_a_projection_by_hand() -> None:
    atoms, chance = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([[0.5, 0.0, 0.5]])
    # 0 -> 0.25 (three quarters to 0, a quarter to 1), 2 -> 1.25 (three quarters to 1, a quarter to 2)
    found = projected(torch.tensor([0.25]), torch.tensor([0.5]), chance, atoms)
    assert torch.allclose(found, torch.tensor([[0.375, 0.5, 0.125]]))


def test_losses_by_hand() -> None:
    loss, error = td_loss(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 3.0]), torch.tensor([1.0, 0.5]))
    assert float(loss) == pytest.approx((0.5 * 0.25 + 0.5 * 2.5) / 2)
    assert error.tolist() == [0.5, -3.0]
    loss, rows = atoms_loss(torch.zeros(1, 4), torch.tensor([[0.0, 1.0, 0.0, 0.0]]), torch.tensor([2.0]))
    assert float(loss) == pytest.approx(2 * math.log(4))
    assert rows.tolist() == [pytest.approx(math.log(4))]


def test_targets_get_no_gradient() -> None:
    value, target = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
    loss, _ = td_loss(value, target, torch.ones(2))
    assert torch.autograd.grad(loss, [value, target], allow_unused=True)[1] is None


def test_exploration_takes_each_allowed_action_alike() -> None:
    rows = 3000
    allowed = torch.tensor([True, False, True, True]).expand(rows, -1)
    generator = torch.Generator().manual_seed(0)
    chance, place = (torch.rand(rows, generator=generator) for _ in range(2))
    taken = explored(torch.full((rows,), 2), allowed, chance, place, epsilon=0.6)
    share = torch.bincount(taken, minlength=4) / rows
    assert share[1] == 0
    assert share.tolist() == pytest.approx([0.2, 0.0, 0.6, 0.2], abs=0.03)
    assert bool((explored(torch.full((rows,), 2), allowed, chance, place, epsilon=0.0) == 2).all())
