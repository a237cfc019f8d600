"""Weighted figures of path steps against counting by hand, over batches and processes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.metrics import AnswerMetrics
from lpr_lightning.metrics.path_metrics import BASELINES, PathFigures, PathLabelMetrics


def example(seed: int, concepts: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(concepts, (40, 5), generator=generator)
    path = torch.where(
        torch.rand(40, 5, generator=generator) < 0.4, label, torch.randint(concepts - 2, (40, 5), generator=generator)
    )
    return path, label


def slow_metrics(path: Tensor, label: Tensor) -> dict[str, float]:
    given, real = path.numpy().ravel(), label.numpy().ravel()
    precision = recall = f1 = 0.0
    for concept in np.unique(real):
        hit = float(np.sum((given == concept) & (real == concept)))
        p = hit / max(np.sum(given == concept), 1)
        r = hit / np.sum(real == concept)
        share = np.mean(real == concept)
        precision += share * p
        recall += share * r
        f1 += share * (2 * p * r / (p + r) if p + r else 0.0)
    again = [np.mean([len(row) - len(set(row)) for row in one.tolist()]) / one.shape[1] for one in (path, label)]
    return {
        "accuracy": float(np.mean(given == real)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "repeat_rate": float(again[0]),
        "label_repeat_rate": float(again[1]),
    }


def figures(metric: PathLabelMetrics) -> dict[str, float]:
    return {name: float(value) for name, value in metric.compute().items()}


@pytest.mark.parametrize("seed", range(4))
def test_matches_counting_over_several_batches(seed: int) -> None:
    path, label = example(seed)
    metric = PathLabelMetrics(9)
    metric.update(path[:13], label[:13])
    metric.update(path[13:], label[13:])
    assert figures(metric) == pytest.approx(slow_metrics(path, label), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_weighted_recall_is_the_accuracy(seed: int) -> None:
    metric = PathLabelMetrics(9)
    metric.update(*example(seed))
    assert figures(metric)["recall"] == pytest.approx(figures(metric)["accuracy"], abs=1e-7)


def test_processes_are_merged_exactly() -> None:
    path, label = example(5)
    whole, ranks = PathLabelMetrics(7), [PathLabelMetrics(7), PathLabelMetrics(7)]
    whole.update(path, label)
    ranks[0].update(path[:31], label[:31])
    ranks[1].update(path[31:], label[31:])
    ranks[0].merge_state(ranks[1])
    assert figures(ranks[0]) == figures(whole)


def test_what_stands_under_the_padding_changes_nothing() -> None:
    path, label = example(6)
    padded = torch.nn.functional.pad(label, (0, 2), value=-1)
    clean, dirty, other = PathLabelMetrics(7), PathLabelMetrics(7), PathLabelMetrics(7)
    clean.update(path, label)
    dirty.update(torch.nn.functional.pad(path, (0, 2), value=3), padded)
    other.update(torch.nn.functional.pad(path, (0, 2), value=-1), padded)
    assert figures(clean) == figures(dirty) == figures(other)


def test_nothing_gives_zeros_and_bad_input_is_refused() -> None:
    assert set(figures(PathLabelMetrics(3)).values()) == {0.0}
    with pytest.raises(SettingError, match="num_concepts"):
        PathLabelMetrics(0)
    with pytest.raises(SettingError, match="path"):
        PathLabelMetrics(3).update(torch.tensor([[1, -1]]), torch.tensor([[1, 1]]))


def test_figures_stand_beside_those_of_baselines_and_a_reset_forgets() -> None:
    path, label = example(7)
    probability, correct = torch.rand(2, 40, 5, generator=torch.Generator().manual_seed(7))
    stage, alone, answers = PathFigures(7), PathLabelMetrics(7), AnswerMetrics()
    stage.update({"": path, "bigram": label}, label, probability, (correct < 0.5).float())
    alone.update(path, label)
    answers.update(probability, (correct < 0.5).float())
    found = stage.compute(["bigram"])
    expected = alone.compute() | {f"tracing_{name}": value for name, value in answers.compute().items()}
    assert {name: value for name, value in found.items() if "/" not in name} == expected
    assert found["bigram/accuracy"] == 1.0
    assert set(stage.compute(by_step=True)) - set(stage.compute()) == {f"tracing_auc_step_{n}" for n in range(1, 6)}
    assert {name.split("/")[0] for name in stage.compute() if "/" in name} == set(BASELINES)
    stage.reset()
    empty = stage.compute()
    assert empty.pop("tracing_auc").isnan()
    assert {float(value) for value in empty.values()} == {0.0}


def test_figures_move_and_copy_with_their_module() -> None:
    stage = copy.deepcopy(PathFigures(3)).to("cpu")
    label = torch.tensor([[0, 1]])
    stage.update({"": label}, label, torch.rand(1, 2), torch.ones(1, 2))
    assert stage.compute([])["accuracy"] == 1.0
    assert {id(metric) for metric in stage.modules()} >= {id(metric) for metric in stage.counts.values()}
