"""Pairs are made over all rows."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.functional.mastery_agreement import mastery_agreement
from lpr_lightning.metrics import MasteryAgreement


def example() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    mastery = torch.rand(60, generator=generator)
    correct = (torch.rand(60, generator=generator) < mastery).float()
    return mastery, correct, torch.randint(4, (60,), generator=generator)


def test_pairs_are_made_across_batches() -> None:
    rows = example()
    metric = MasteryAgreement()
    for first in range(0, 60, 7):
        metric.update(*(one[first : first + 7] for one in rows))
    assert metric.compute() == mastery_agreement(*rows)


def test_pairs_are_made_across_processes() -> None:
    rows = example()
    ranks = [MasteryAgreement(), MasteryAgreement()]
    ranks[0].update(*(one[40:] for one in rows))
    ranks[1].update(*(one[:40] for one in rows))
    ranks[0].merge_state(ranks[1])
    assert ranks[0].compute() == mastery_agreement(*rows)


def test_nothing_seen_is_chance() -> None:
    assert MasteryAgreement().compute() == 0.5


def test_reset_forgets() -> None:
    metric = MasteryAgreement()
    metric.update(*example())
    metric.reset()
    assert metric.compute() == 0.5
