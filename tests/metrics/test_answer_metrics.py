from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.metrics import AnswerMetrics


def example(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probability = (torch.rand(30, 12, generator=generator) * 40).round() / 41 + 0.01
    target = (torch.rand(30, 12, generator=generator) < probability).float()
    return probability, target, torch.rand(30, 12, generator=generator) < 0.6


def slow_metrics(probability: Tensor, target: Tensor, mask: Tensor) -> dict[str, float]:
    p, y = probability[mask].double().numpy(), target[mask].numpy()
    wins = [(a > b) + 0.5 * (a == b) for a in p[y == 1] for b in p[y == 0]]
    place = np.minimum((p * 15).astype(int), 14)
    gaps = [
        abs(p[place == b].mean() - y[place == b].mean()) * (place == b).mean() for b in range(15) if (place == b).any()
    ]
    return {
        "auc": float(np.mean(wins)),
        "accuracy": float(((p >= 0.5) == y).mean()),
        "ece": float(np.sum(gaps)),
        "brier": float(((p - y) ** 2).mean()),
    }


@pytest.mark.parametrize("seed", range(3))
def test_matches_pairs_and_bins(seed: int) -> None:
    probability, target, mask = example(seed)
    metric = AnswerMetrics()
    metric.update(probability[:11], target[:11], mask[:11])
    metric.update(probability[11:], target[11:], mask[11:])
    expected = slow_metrics(probability, target, mask)
    got = {key: float(value) for key, value in metric.compute().items()}
    assert got == pytest.approx(expected, abs=1e-5)


def test_masked_values_change_nothing() -> None:
    probability, target, mask = example(4)
    clean, dirty = AnswerMetrics(), AnswerMetrics()
    clean.update(probability[mask], target[mask])
    dirty.update(probability.masked_fill(~mask, torch.nan), target.masked_fill(~mask, -1.0), mask)
    assert clean.compute() == dirty.compute()


def test_processes_are_merged() -> None:
    probability, target, mask = example(5)
    whole, ranks = AnswerMetrics(), [AnswerMetrics(), AnswerMetrics()]
    whole.update(probability, target, mask)
    ranks[0].update(probability[20:], target[20:], mask[20:])
    ranks[1].update(probability[:20], target[:20], mask[:20])
    ranks[0].merge_state(ranks[1])
    assert ranks[0].compute() == whole.compute()


def test_a_process_without_answers_is_no_hindrance() -> None:
    probability, target, mask = example(6)
    whole, rank = AnswerMetrics(), AnswerMetrics()
    whole.update(probability, target, mask)
    other = iter([probability[mask], target[mask]])
    rank.dist_sync_fn = lambda own, group=None: [own, next(other)]
    rank.distributed_available_fn = lambda: True
    assert rank.compute() == whole.compute()


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_one_kind_of_answer_gives_half(answer: float) -> None:
    metric = AnswerMetrics()
    metric.update(torch.tensor([0.2, 0.9]), torch.full((2,), answer))
    got = metric.compute()
    assert got["auc"] == 0.5
    assert all(value.isfinite() for value in got.values())


def test_no_answers_give_defined_values() -> None:
    metric = AnswerMetrics()
    metric.update(torch.rand(2, 2), torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool))
    assert {key: float(value) for key, value in metric.compute().items()} == {
        "auc": 0.5,
        "accuracy": 0.0,
        "ece": 0.0,
        "brier": 0.0,
    }


def test_wrong_bins_are_refused() -> None:
    with pytest.raises(SettingError, match="bins"):
        AnswerMetrics(bins=0)
