"""Two processes give the figures of one, also where one of them or both saw no row."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rollouts import made_rollout
from torch import Tensor, distributed

from lpr_lightning.metrics import AnswerMetrics, FrontFigures, Hypervolume, MasteryAgreement, RolloutMetrics
from lpr_lightning.metrics.concept_error import ConceptError
from lpr_lightning.metrics.path_metrics import PathFigures, PathLabelMetrics

torch.set_num_threads(1)
ROWS = 24
SHARES = {"first_empty": (0, ROWS), "second_empty": (ROWS, ROWS), "uneven": (5, ROWS), "both_empty": (0, 0)}
"""Rows of the first process end at the first number, those of the second at the second."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


PROBABILITY, CORRECT = random(ROWS, 3), (random(ROWS, 3, seed=1) < 0.5).float()
PATH, LABEL = (random(ROWS, 3, seed=2) * 5).long(), (random(ROWS, 3, seed=3) * 5).long()


def answers(rows: Tensor) -> dict[str, Tensor]:
    metric = AnswerMetrics(by_step=True)
    if len(rows):
        metric.update(PROBABILITY[rows], CORRECT[rows])
    return metric.compute()


def rollouts(rows: Tensor) -> dict[str, Tensor]:
    metric = RolloutMetrics(bootstrap=20)
    rollout = made_rollout(
        PATH,
        score_before=random(ROWS),
        score_after=random(ROWS, seed=1),
        score_max=torch.ones(ROWS),
        wanted_length=torch.full((ROWS,), 4),
    )
    if len(rows):
        metric.update(rollout.select(rows))
    return metric.compute()


def hypervolume(rows: Tensor) -> dict[str, Tensor]:
    metric = Hypervolume([0.1, 0.0, 0.2])
    if len(rows):
        metric.update(PROBABILITY[rows])
    return {"hypervolume": metric.compute()}


def front(rows: Tensor) -> dict[str, Tensor]:
    metric = FrontFigures([-1.0, -1.0], [1.0, 1.0])
    if len(rows):
        metric.update(PROBABILITY[rows, :2])
    return metric.compute()


def agreement(rows: Tensor) -> dict[str, Tensor]:
    metric = MasteryAgreement()
    if len(rows):
        metric.update(PROBABILITY[rows, 0], CORRECT[rows, 0], LABEL[rows, 0])
    return {"agreement": metric.compute()}


def concept_error(rows: Tensor) -> dict[str, Tensor]:
    metric = ConceptError()
    if len(rows):
        metric.update(PROBABILITY[rows], CORRECT[rows])
    return {"error": metric.compute()}


def labels(rows: Tensor) -> dict[str, Tensor]:
    metric = PathLabelMetrics(5)
    if len(rows):
        metric.update(PATH[rows], LABEL[rows])
    return metric.compute()


def path_figures(rows: Tensor) -> dict[str, Tensor]:
    figures = PathFigures(5)
    if len(rows):
        figures.update({"": PATH[rows], "bigram": LABEL[rows]}, LABEL[rows], PROBABILITY[rows], CORRECT[rows])
    return figures.compute(by_step=True)


METRICS: list[Callable[[Tensor], dict[str, Tensor]]] = [
    answers,
    rollouts,
    hypervolume,
    front,
    agreement,
    concept_error,
    labels,
    path_figures,
]


def work(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = {}
    for name, (middle, end) in SHARES.items():
        rows = torch.arange(middle) if rank == 0 else torch.arange(middle, end)
        found[name] = [figures(rows) for figures in METRICS]
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_two_processes_give_the_figures_of_one(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=work, args=(rank, str(tmp_path)), daemon=True) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=60)
    assert [process.exitcode for process in ranks] == [0, 0]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name, (_, end) in SHARES.items():
            for metric, got in zip(METRICS, found[name], strict=True):
                expected = metric(torch.arange(end))
                torch.testing.assert_close(
                    got, expected, rtol=0, atol=0, equal_nan=True, msg=f"{metric.__name__}, {name}"
                )
                assert end == 0 or any(float(value) not in (0.0, 0.5) for value in expected.values()), metric.__name__
