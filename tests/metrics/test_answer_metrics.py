"""Figures of predicted answers against all pairs and bins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.metrics import AnswerMetrics, answer_selection


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


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_answers_of_one_class_have_no_auc(answer: float) -> None:
    metric = AnswerMetrics()
    metric.update(torch.tensor([0.2, 0.9]), torch.full((2,), answer))
    got = metric.compute()
    assert {name for name, value in got.items() if value.isnan()} == {"auc"}
    assert answer_selection(got) == 1 - got["brier"]


def test_no_answers_give_defined_values() -> None:
    metric = AnswerMetrics()
    metric.update(torch.rand(2, 2), torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool))
    figures = {key: float(value) for key, value in metric.compute().items()}
    assert math.isnan(figures.pop("auc"))
    assert figures == {
        "accuracy": 0.0,
        "ece": 0.0,
        "brier": 0.0,
    }


def test_wrong_bins_are_refused() -> None:
    with pytest.raises(SettingError, match="bins"):
        AnswerMetrics(bins=0)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_predictions_that_are_not_finite_have_no_figures(wrong: float) -> None:
    probability, target, mask = example(7)
    place = tuple(mask.nonzero()[0].tolist())
    probability[place] = wrong
    metric = AnswerMetrics(by_step=True)
    metric.update(probability, target, mask)
    figures = metric.compute()
    damaged = {"auc", "accuracy", "ece", "brier", f"auc_step_{place[1] + 1}"}
    assert {name for name, value in figures.items() if value.isnan()} == damaged
    one_class = AnswerMetrics()
    one_class.update(torch.tensor([wrong, 0.5]), torch.ones(2))
    assert all(value.isnan() for value in one_class.compute().values())
    assert answer_selection(one_class.compute()).isnan()


def test_each_step_matches_pairs_over_batches_and_processes() -> None:
    probability, target, mask = example(8)
    ranks = [AnswerMetrics(by_step=True), AnswerMetrics(by_step=True)]
    for rank, part in ((0, slice(0, 9)), (0, slice(9, 20)), (1, slice(20, 30))):
        ranks[rank].update(probability[part], target[part], mask[part])
    ranks[0].merge_state(ranks[1])
    figures = {name: float(value) for name, value in ranks[0].compute().items() if "step" in name}
    assert list(figures) == [f"auc_step_{step + 1}" for step in range(12)]
    for step, value in enumerate(figures.values()):
        rows = probability[:, step], target[:, step], mask[:, step]
        assert value == pytest.approx(slow_metrics(*rows)["auc"], abs=1e-6)


def test_a_step_with_answers_of_one_class_has_no_auc() -> None:
    metric = AnswerMetrics(by_step=True)
    metric.update(torch.tensor([[0.9, 0.1], [0.2, 0.3]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    figures = metric.compute()
    assert float(figures["auc_step_1"]) == 1.0
    assert figures["auc_step_2"].isnan()
