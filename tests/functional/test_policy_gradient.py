"""Losses of policies against loops and exact solutions."""

from __future__ import annotations

import math

import pytest
import torch

from lpr_lightning.functional.policy_gradient import (
    conjugate_gradient,
    divergence,
    entropy,
    expectation,
    line_search,
    masked_log_softmax,
    proximal,
    soft_value,
)


def policies(seed: int) -> torch.Tensor:
    """Return log-probabilities [4, 5], the last action of no row allowed."""
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.ones(4, 5, dtype=torch.bool)
    allowed[:, 4] = False
    return masked_log_softmax(torch.randn(4, 5, generator=generator), allowed)


def test_soft_values_equal_a_loop_whatever_is_not_allowed_is_worth() -> None:
    log_prob, value = policies(0), torch.randn(4, 5, generator=torch.Generator().manual_seed(9))
    value[:, 4] = torch.inf
    found = soft_value(log_prob, value, 0.3)
    for row in range(4):
        chance = log_prob[row, :4].double().exp()
        wanted = sum(float(p) * (float(q) - 0.3 * math.log(float(p))) for p, q in zip(chance, value[row, :4]))
        assert float(found[row]) == pytest.approx(wanted, abs=1e-5)
    assert torch.isfinite(expectation(log_prob, value)).all()


def test_gradients_pass_by_what_is_not_allowed() -> None:
    logit = torch.randn(2, 3, requires_grad=True)
    allowed = torch.tensor([[True, True, False], [False, True, True]])
    log_prob = masked_log_softmax(logit, allowed)
    loss = soft_value(log_prob, torch.ones(2, 3), 0.5).sum() + divergence(log_prob.detach(), log_prob).sum()
    (gradient,) = torch.autograd.grad(loss, logit)
    assert torch.isfinite(gradient).all()
    assert not gradient[~allowed].any()


def test_entropy_and_divergence_equal_loops() -> None:
    one, other = policies(1), policies(2)
    for row in range(4):
        p, q = one[row, :4].double().exp(), other[row, :4].double().exp()
        assert float(entropy(one)[row]) == pytest.approx(-sum(float(a) * math.log(float(a)) for a in p), abs=1e-5)
        wanted = sum(float(a) * math.log(float(a) / float(b)) for a, b in zip(p, q))
        assert float(divergence(one, other)[row]) == pytest.approx(wanted, abs=1e-5)
    assert torch.allclose(divergence(one, one), torch.zeros(4))


@pytest.mark.parametrize(
    ("ratio", "advantage", "wanted"),
    [(1.5, 1.0, 1.2), (1.5, -1.0, -1.5), (0.5, 1.0, 0.5), (0.5, -1.0, -0.8), (1.1, 2.0, 2.2)],
)
def test_the_clipped_surrogate_by_hand(ratio: float, advantage: float, wanted: float) -> None:
    found = proximal(torch.tensor(ratio).log(), torch.tensor(0.0), torch.tensor(advantage), 0.2)
    assert float(found) == pytest.approx(wanted, abs=1e-6)


def test_conjugate_gradients_solve() -> None:
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    matrix, wanted = half @ half.T + torch.eye(6), torch.randn(6, generator=generator, dtype=torch.float64)
    exact = torch.linalg.solve(matrix, wanted)
    assert torch.allclose(conjugate_gradient(lambda v: matrix @ v, wanted, 6), exact, atol=1e-6)
    errors = [(conjugate_gradient(lambda v: matrix @ v, wanted, n) - exact).norm() for n in (1, 3, 6)]
    assert errors[0] > errors[1] > errors[2]
    assert not conjugate_gradient(lambda v: matrix @ v, torch.zeros(6).double(), 6).any()


def test_the_line_search_stops_at_the_first_share_that_gains_within_the_limit() -> None:
    tried: list[float] = []

    def surrogate(share: float) -> tuple[float, float]:
        tried.append(share)
        return 1.0 - share, share**2

    assert line_search(surrogate, limit=0.1, shrink=0.5) == 0.25
    assert tried == [1.0, 0.5, 0.25]
    assert line_search(lambda share: (-1.0, 0.0), limit=1.0) == 0.0
