from __future__ import annotations

import torch

from lpr_lightning.functional.isotonic import isotonic


def slow_isotonic(value: list[float], weight: list[float]) -> list[float]:
    """The min-max formula: the greatest over starts of the least over ends of the weighted mean."""
    size = len(value)

    def mean(first: int, last: int) -> float:
        span = range(first, last + 1)
        return sum(value[i] * weight[i] for i in span) / sum(weight[i] for i in span)

    return [max(min(mean(first, last) for last in range(i, size)) for first in range(i + 1)) for i in range(size)]


def test_matches_the_min_max_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        value, weight = torch.rand(2, 9, generator=generator, dtype=torch.float64)
        expected = torch.tensor(slow_isotonic(value.tolist(), weight.tolist()), dtype=torch.float64)
        torch.testing.assert_close(isotonic(value, weight), expected)


def test_sorted_values_stay() -> None:
    value = torch.tensor([0.1, 0.1, 0.4])
    assert torch.equal(isotonic(value, torch.ones(3)), value)
