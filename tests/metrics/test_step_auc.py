"""The AUC of each step alone."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.metrics.step_auc import StepAUC


def example() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(40, 3, generator=generator)
    return probability, (torch.rand(40, 3, generator=generator) < probability).float()


def slow_auc(probability: Tensor, target: Tensor) -> float:
    right, wrong = probability[target == 1].tolist(), probability[target == 0].tolist()
    wins = [(a > b) + 0.5 * (a == b) for a in right for b in wrong]
    return float(sum(wins) / len(wins))


def test_each_step_matches_pairs_over_batches_and_processes() -> None:
    probability, target = example()
    ranks = [StepAUC(), StepAUC()]
    ranks[0].update(probability[:9], target[:9])
    ranks[0].update(probability[9:20], target[9:20])
    ranks[1].update(probability[20:], target[20:])
    ranks[0].merge_state(ranks[1])
    got = ranks[0].compute()
    assert list(got) == ["step_1", "step_2", "step_3"]
    for step, value in enumerate(got.values()):
        torch.testing.assert_close(float(value), slow_auc(probability[:, step], target[:, step]), atol=1e-6, rtol=0)


def test_answers_of_one_kind_give_half_and_no_answers_nothing() -> None:
    metric = StepAUC()
    assert metric.compute() == {}
    metric.update(torch.rand(4, 1), torch.ones(4, 1))
    assert metric.compute() == {"step_1": 0.5}
