"""Counted, expected and trainable repeats against slow counts, samples and one another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lpr_lightning.functional.repeats import (
    excess_repeats,
    expected_repeats,
    hard_repeats,
    pairwise_repeats,
)

SURROGATES = [expected_repeats, pairwise_repeats]


def steps(rows: int, length: int, concepts: int, seed: int, sharp: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharp * torch.randn(rows, length, concepts, generator=generator, dtype=torch.float64)).softmax(-1)


def slow_repeats(probability: Tensor, mask: Tensor) -> tuple[list[float], list[float]]:
    expected, pairwise = [], []
    for row, real in zip(probability.numpy(), mask.numpy()):
        p = row[real]
        length, concepts = p.shape
        used = [1 - np.prod([1 - p[t, c] for t in range(length)]) for c in range(concepts)]
        expected.append(length - float(sum(used)))
        pairwise.append(sum(float(p[s] @ p[t]) for t in range(length) for s in range(t)))
    return expected, pairwise


@pytest.mark.parametrize("seed", range(3))
def test_all_match_their_definitions_and_leave_out_what_is_masked(seed: int) -> None:
    probability = steps(6, 5, 4, seed, sharp=2.0)
    mask = torch.rand(6, 5, generator=torch.Generator().manual_seed(seed)) < 0.7
    for function, expected in zip(SURROGATES, slow_repeats(probability, mask)):
        assert function(probability, mask).tolist() == pytest.approx(expected, abs=1e-12)
        dirty = probability.masked_fill(~mask[..., None], 0.9)
        torch.testing.assert_close(function(dirty, mask), function(probability, mask))


def test_hand_computed_path() -> None:
    probability = torch.tensor([[[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]])
    # Each concept has mass 1, is left out with probability 1/4, and each of three pairs meets with probability 1/4.
    assert [float(function(probability)) for function in SURROGATES] == [0.75, 0.75]


@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 10_000), st.floats(0.0, 30.0, allow_nan=False, width=32))
@settings(max_examples=200, deadline=None)
def test_the_expectation_is_at_least_zero_and_at_most_the_pairs(
    length: int, concepts: int, seed: int, sharp: float
) -> None:
    expected, pairwise = (function(steps(4, length, concepts, seed, sharp)) for function in SURROGATES)
    assert bool((expected >= -1e-9).all())
    assert bool((expected <= pairwise + 1e-9).all())


def test_the_expectation_is_the_mean_of_counts() -> None:
    probability = steps(3, 5, 6, seed=4, sharp=1.5)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(probability.flatten(0, 1), 40_000, replacement=True, generator=generator)
    counts = hard_repeats(drawn.view(3, 5, -1).transpose(1, 2).flatten(0, 1)).view(3, -1).double().mean(1)
    torch.testing.assert_close(expected_repeats(probability), counts, atol=0.02, rtol=0)


def test_certain_steps_are_counted() -> None:
    path = torch.randint(4, (50, 5), generator=torch.Generator().manual_seed(1))
    probability = torch.nn.functional.one_hot(path, 4).double()
    count = hard_repeats(path)
    torch.testing.assert_close(expected_repeats(probability), count.double())
    twice_at_most = probability.sum(1).amax(1) <= 2
    assert bool(twice_at_most.any())
    assert torch.equal(pairwise_repeats(probability)[twice_at_most], count[twice_at_most].double())
    assert bool((pairwise_repeats(probability)[~twice_at_most] > count[~twice_at_most]).all())


def test_counts_match_sets_and_forget_the_padding() -> None:
    path = torch.randint(3, (20, 6), generator=torch.Generator().manual_seed(2))
    path[10:, 4:] = -1
    expected = [len(real) - len(set(real)) for row in path.tolist() for real in [[c for c in row if c >= 0]]]
    assert hard_repeats(path).tolist() == expected
    assert hard_repeats(torch.nn.functional.pad(path, (0, 3), value=-1)).tolist() == expected
    assert hard_repeats(torch.empty(2, 0, dtype=torch.int64)).tolist() == [0, 0]


def test_repeats_of_the_labels_are_allowed_for() -> None:
    probability = torch.nn.functional.one_hot(torch.tensor([[2, 2, 1], [0, 0, 0]]), 3).float()
    label = torch.tensor([[1, 1, 0], [0, 0, 1]])
    assert excess_repeats(pairwise_repeats(probability), label).tolist() == [0.0, 2.0]


def test_pairs_push_the_harder_the_more_steps_agree() -> None:
    logit = torch.zeros(1, 5, 6, dtype=torch.float64)
    logit[..., 0] = 12.0
    slope = []
    for function in (pairwise_repeats, expected_repeats):
        one = logit.clone().requires_grad_()
        torch.autograd.backward(function(one.softmax(-1)).sum())
        slope.append(0.0 if one.grad is None else float(one.grad.abs().max()))
    assert slope[0] == pytest.approx(4 * slope[1], rel=1e-2)
