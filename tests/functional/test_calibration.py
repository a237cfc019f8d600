"""Do the calibration functions equal slow loops and cases worked out by hand?"""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpr_lightning.functional.calibration import mean_over_questions, soft_cross_entropy


def test_a_hand_computed_case() -> None:
    """Concept 0 has questions 0 and 1 (0.2, 0.6: mean 0.4), concept 1 none, concept 2 question 1."""
    question, group = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 2])
    target = mean_over_questions(torch.tensor([[0.2, 0.6]]), question, group, 3)
    torch.testing.assert_close(target, torch.tensor([[0.4, 0.0, 0.6]]))
    loss = soft_cross_entropy(torch.tensor([math.log(3.0)]), torch.tensor([0.4]))
    expected = -(0.4 * math.log(0.75) + 0.6 * math.log(0.25))
    assert math.isclose(float(loss), expected, rel_tol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 6), st.integers(1, 7), st.integers(1, 5))
def test_they_equal_slow_loops(seed: int, states: int, questions: int, groups: int) -> None:
    random = np.random.default_rng(seed)
    probability = random.random((states, questions))
    member = random.random((groups, questions)) < 0.5
    expected = np.zeros((states, groups))
    for state in range(states):
        for number in range(groups):
            found = [probability[state, q] for q in range(questions) if member[number, q]]
            expected[state, number] = sum(found) / len(found) if found else 0.0
    group, question = (torch.from_numpy(part) for part in member.nonzero())
    target = mean_over_questions(torch.from_numpy(probability), question, group, groups)
    np.testing.assert_allclose(target.numpy(), expected, atol=1e-12)

    logit = random.normal(size=(states, groups))
    losses = [
        -(t * math.log(1 / (1 + math.exp(-x))) + (1 - t) * math.log(1 - 1 / (1 + math.exp(-x))))
        for x, t in zip(logit.ravel(), expected.ravel())
    ]
    loss = soft_cross_entropy(torch.from_numpy(logit), target)
    np.testing.assert_allclose(float(loss), sum(losses) / len(losses), rtol=1e-9)


def test_the_gradient_is_prediction_minus_target() -> None:
    logit = torch.tensor([0.3, -1.0], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0.9, 0.1], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(soft_cross_entropy(logit, target), logit)
    torch.testing.assert_close(gradient, (logit.detach().sigmoid() - target) / 2)


def test_nothing_gives_zero() -> None:
    none = torch.empty(0, 3)
    assert float(soft_cross_entropy(none, none)) == 0
