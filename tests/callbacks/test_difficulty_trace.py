"""The picture of difficulty against the learner's band."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from lpr_lightning.callbacks.difficulty_trace import DifficultyTrace, Trace, draw, trace_of
from lpr_lightning.goals import Targets
from lpr_lightning.objectives.zpd_alignment import ZPDAlignment
from lpr_lightning.policies import follow_paths
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import PAD, Rollout


def fitted() -> ZPDAlignment:
    objective = ZPDAlignment()
    objective.configure(3)
    objective.difficulty.copy_(torch.tensor([0.25, 0.5, 0.75]))
    return objective


def taught(path: list[int], targets: list[int]) -> Rollout:
    ladder = Ladder(3)
    request = replace(ladder.request([targets], 3), learner=torch.tensor([931]))
    return follow_paths(ladder, Targets(), request, torch.tensor([path]))


def test_trace_with_our_own_objective() -> None:
    trace = trace_of(taught([0, 2], [0]), fitted())
    assert trace.title == "learner 931, $E_p$ = 1.00"
    assert trace.difficulty == pytest.approx([0.25, 0.75])
    assert (trace.centre, trace.width) == pytest.approx((0.5, 0.1))
    assert trace_of(taught([0, 2, -1], [0]), fitted()) == trace


class Judged(LightningModule):
    """A module with an objective that knows zones."""

    def __init__(self) -> None:
        super().__init__()
        self.objectives = {"zpd": fitted()}


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
@pytest.mark.parametrize("size", [1, 3, 4])
def test_batches_and_their_order_change_no_picture(order: list[int], size: int) -> None:
    ladder, callback, trainer = Ladder(3), DifficultyTrace(samples=2), Trainer(logger=False)
    request = replace(ladder.request([[0], [1], [2], [0]], 3), learner=torch.tensor([9, 4, 7, 5]))
    path = torch.tensor([[0, 1], [1, 0], [2, 1], [0, 0]])
    module = Judged()
    callback.begin(trainer, module, "val")
    for rows in torch.split(torch.tensor(order), size):
        paths = path[rows].repeat_interleave(2, 0)
        rollout = follow_paths(ladder, Targets(), request.select(rows), paths, None, group_size=2)
        callback.take(trainer, module, "val", rollout, None)
    callback.finish(trainer, module, "val")
    assert [trace.learner for trace in callback._traces] == [4, 5]
    assert [trace.difficulty for trace in callback._traces] == [[0.5, 0.25], [0.25, 0.25]]


def test_a_learning_effect_that_is_not_defined_is_called_so() -> None:
    assert trace_of(taught([0], []), fitted()).title == "learner 931, $E_p$ undefined"


def test_questions_on_several_concepts_are_as_hard_as_these_on_average() -> None:
    path = taught([0, 2], [0])
    several = replace(path.session, concept=torch.tensor([[[0, 1], [2, PAD]]]))
    assert trace_of(replace(path, session=several), fitted()).difficulty == pytest.approx([0.375, 0.75])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_one_panel_for_each_path(count: int) -> None:
    figure = draw([Trace(0, "one", [0.1, 0.2], [True, False], 0.5, 0.1)] * count)
    assert sum(axis.get_visible() for axis in figure.axes) == count


def test_an_empty_path_can_be_drawn() -> None:
    draw([Trace(0, "nobody", [], [], 0.5, 0.1)])
