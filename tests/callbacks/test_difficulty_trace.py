"""The picture of difficulty against the learner's band."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lpr_lightning.callbacks.difficulty_trace import Trace, draw, trace_of
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


def test_a_learning_effect_that_is_not_defined_is_called_so() -> None:
    assert trace_of(taught([0], []), fitted()).title == "learner 931, $E_p$ undefined"


def test_questions_on_several_concepts_are_as_hard_as_these_on_average() -> None:
    path = taught([0, 2], [0])
    several = replace(path.session, concept=torch.tensor([[[0, 1], [2, PAD]]]))
    assert trace_of(replace(path, session=several), fitted()).difficulty == pytest.approx([0.375, 0.75])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_one_panel_for_each_path(count: int) -> None:
    figure = draw([Trace("one", [0.1, 0.2], [True, False], 0.5, 0.1)] * count)
    assert sum(axis.get_visible() for axis in figure.axes) == count


def test_an_empty_path_can_be_drawn() -> None:
    draw([Trace("nobody", [], [], 0.5, 0.1)])
