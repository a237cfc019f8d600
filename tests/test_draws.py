"""Random numbers as arguments, against splitmix64 in whole numbers of Python and against their distributions."""

from __future__ import annotations

import math

import pytest
import torch

from lpr_lightning.draws import Draws

WORD = 2**64 - 1
ROWS = torch.arange(2000)


def mixed(value: int) -> int:
    """splitmix64 of Steele et al. 2014, as in Java's SplittableRandom."""
    value = (value + 0x9E3779B97F4A7C15) & WORD
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & WORD
    return value ^ (value >> 31)


def key(seed: int, step: int, row: int) -> int:
    start = mixed(mixed(seed & WORD) ^ (step & WORD))
    return mixed(start ^ (row & WORD))


def place(key: int, *index: int) -> int:
    for number in index:
        key = mixed(key ^ (((number + 1) * 0xBF58476D1CE4E5B9) & WORD))
    return key if index else mixed(key)


def test_the_reference_gives_the_published_numbers() -> None:
    assert [mixed(0), mixed(0x9E3779B97F4A7C15)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (7, 3), (-1, -1), (2**62, 12345)])
def test_uniform_numbers_are_those_of_the_reference(seed: int, step: int) -> None:
    rows = [0, 1, -2, 2**40]
    drawn = Draws.of(seed, step, torch.tensor(rows)).uniform(2, 3)
    for number, row in enumerate(rows):
        for i in range(2):
            for j in range(3):
                assert float(drawn[number, i, j]) == (place(key(seed, step, row), i, j) >> 40) / 2**24


def test_streams_and_forks_are_those_of_the_reference() -> None:
    draws = Draws.of(3, 1, torch.tensor([5]))
    assert float(draws.uniform()) == (place(key(3, 1, 5)) >> 40) / 2**24
    assert float(draws.at(4).uniform()) == (mixed(mixed(key(3, 1, 5) ^ 5)) >> 40) / 2**24
    forked = [(mixed(place(key(3, 1, 5), copy)) >> 40) / 2**24 for copy in range(3)]
    assert draws.fork(3).uniform().tolist() == forked


def test_normal_numbers_are_those_of_the_reference() -> None:
    drawn = Draws.of(0, 0, torch.tensor([9])).normal(3)
    for number in range(3):
        word = place(key(0, 0, 9), number)
        radius, angle = ((word >> 40) + 1) / 2**24, ((word >> 8) & (2**24 - 1)) / 2**24
        expected = math.sqrt(-2 * math.log(radius)) * math.cos(2 * math.pi * angle)
        assert float(drawn[0, number]) == pytest.approx(expected, abs=1e-5)


def test_uniform_numbers_are_even_and_uncorrelated() -> None:
    drawn = Draws.of(0, 0, ROWS).uniform(40)
    count = torch.histc(drawn, 20, 0, 1)
    spread = (drawn.numel() / 20 * 0.95) ** 0.5
    assert float((count - drawn.numel() / 20).abs().max()) < 4 * spread
    assert 0 <= float(drawn.min()) < float(drawn.max()) < 1
    together = torch.corrcoef(drawn.T) - torch.eye(40)
    assert float(together.abs().max()) < 5 / len(ROWS) ** 0.5


@pytest.mark.parametrize("other", [Draws.of(0, 1, ROWS), Draws.of(1, 0, ROWS), Draws.of(0, 0, ROWS).at(0)])
def test_steps_seeds_and_streams_are_uncorrelated(other: Draws) -> None:
    both = torch.stack([Draws.of(0, 0, ROWS).uniform(5).flatten(), other.uniform(5).flatten()])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 4 / both.shape[1] ** 0.5


def test_normal_numbers_have_their_moments() -> None:
    drawn = Draws.of(5, 0, ROWS).normal(50).double()
    size = drawn.numel() ** 0.5
    assert abs(float(drawn.mean())) < 4 / size
    assert abs(float(drawn.var()) - 1) < 4 * 2**0.5 / size
    assert abs(float((drawn**3).mean())) < 4 * 15**0.5 / size
    assert abs(float((drawn**4).mean()) - 3) < 4 * 96**0.5 / size
    assert bool(drawn.isfinite().all())


def test_a_number_depends_neither_on_the_batch_nor_on_the_shape() -> None:
    draws = Draws.of(1, 2, ROWS)
    few = torch.tensor([1999, 3, 3])
    for numbers in (draws.select(few), Draws.of(1, 2, few)):
        assert torch.equal(numbers.uniform(4, 2), draws.uniform(7, 5)[few][:, :4, :2])
        assert torch.equal(numbers.normal(4), draws.normal(6)[few][:, :4])
        assert torch.equal(numbers.at(1).integers(10), draws.at(1).integers(10)[few])
        assert torch.equal(numbers.fork(2).uniform(), draws.fork(3).uniform().view(-1, 3)[few, :2].flatten())


def test_the_same_call_gives_the_same_numbers_and_forks_differ() -> None:
    draws = Draws.of(0, 0, torch.arange(3))
    assert torch.equal(draws.uniform(4), draws.uniform(4))
    assert len(set(draws.fork(5).uniform().tolist())) == 15
    assert len(draws.fork(5)) == 15


def test_integers_are_even_and_below_their_bound() -> None:
    drawn = Draws.of(0, 0, ROWS).integers(6, 30)
    share = torch.bincount(drawn.flatten(), minlength=6) / drawn.numel()
    torch.testing.assert_close(share, torch.full((6,), 1 / 6), atol=0.006, rtol=0)
    high = torch.tensor([1, 2, 3])
    several = Draws.of(0, 0, ROWS).integers(high, 3)
    assert several.amax(0).tolist() == [0, 1, 2]
    assert Draws.of(0, 0, ROWS).integers(2**40, 5).max() < 2**40


def test_places_are_picked_in_proportion() -> None:
    probability = torch.tensor([0.0, 2.0, 1.0, 0.0, 5.0, 0.0])
    picked = Draws.of(0, 0, torch.arange(20000)).pick(probability.expand(20000, -1))
    share = torch.bincount(picked, minlength=6) / 20000
    torch.testing.assert_close(share, probability / 8, atol=0.015, rtol=0)
    assert not bool(share[probability == 0].any())


def test_a_pick_is_the_place_that_the_uniform_number_falls_in() -> None:
    draws = Draws.of(2, 0, torch.arange(50))
    probability = Draws.of(3, 0, torch.arange(50)).uniform(7)
    for row, (point, weights) in enumerate(zip(draws.uniform().tolist(), probability.double().tolist())):
        reached = [sum(weights[: place + 1]) / sum(weights) for place in range(7)]
        assert int(draws.pick(probability)[row]) == sum(bound <= point for bound in reached)
