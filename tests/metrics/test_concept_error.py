"""Is the metric the function over all batches?"""

from __future__ import annotations

import torch

from lpr_lightning.functional.calibration import concept_error
from lpr_lightning.metrics.concept_error import ConceptError


def test_batches_add_up_to_the_function() -> None:
    generator = torch.Generator().manual_seed(0)
    mastery, target = torch.rand(10, 4, generator=generator), torch.rand(10, 4, generator=generator)
    known = torch.tensor([True, False, True, True])
    metric = ConceptError()
    for part in (slice(0, 3), slice(3, 10)):
        metric.update(mastery[part], target[part], known)
    torch.testing.assert_close(metric.compute(), concept_error(mastery, target, known))


def test_nothing_gives_zero_and_a_reset_forgets() -> None:
    metric = ConceptError()
    metric.update(torch.empty(0, 2), torch.empty(0, 2))
    assert float(metric.compute()) == 0
    metric.update(torch.ones(1, 2), torch.zeros(1, 2))
    assert float(metric.compute()) == 1
    metric.reset()
    assert float(metric.compute()) == 0
