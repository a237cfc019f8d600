"""Is the mean over questions that of a slow loop and of a case worked out by hand?"""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpr_lightning.functional.calibration import mean_over_questions


def test_a_hand_computed_case() -> None:
    """Concept 0 has questions 0 and 1 (0.2, 0.6: mean 0.4), concept 1 none, concept 2 question 1."""
    question, group = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 2])
    target = mean_over_questions(torch.tensor([[0.2, 0.6]]), question, group, 3)
    torch.testing.assert_close(target, torch.tensor([[0.4, 0.0, 0.6]]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(1, 6), st.integers(1, 7), st.integers(1, 5))
def test_it_equals_a_slow_loop(seed: int, states: int, questions: int, groups: int) -> None:
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
