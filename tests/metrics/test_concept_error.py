"""The mean absolute error of mastery over all batches."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.metrics.concept_error import ConceptError


def test_batches_add_up_to_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    mastery, target = torch.rand(10, 4, generator=generator), torch.rand(10, 4, generator=generator)
    metric = ConceptError()
    for part in (slice(0, 3), slice(3, 10)):
        metric.update(mastery[part], target[part])
    gaps = [abs(float(mastery[row, concept] - target[row, concept])) for row in range(10) for concept in range(4)]
    assert float(metric.compute()) == pytest.approx(sum(gaps) / 40)


def test_a_hand_computed_case() -> None:
    metric = ConceptError()
    metric.update(torch.tensor([[0.5, 0.1]]), torch.tensor([[0.4, 0.6]]))
    assert float(metric.compute()) == pytest.approx((0.1 + 0.5) / 2)


def test_nothing_gives_zero_and_a_reset_forgets() -> None:
    metric = ConceptError()
    metric.update(torch.empty(0, 2), torch.empty(0, 2))
    assert float(metric.compute()) == 0
    metric.update(torch.ones(1, 2), torch.zeros(1, 2))
    assert float(metric.compute()) == 1
    metric.reset()
    assert float(metric.compute()) == 0
