"""The picture of difficulty against the learner's band."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lpr_lightning.callbacks.difficulty_trace import Trace, draw, trace_of
from lpr_lightning.objectives.zpd_alignment import ZPDAlignment
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout


def test_trace_with_our_own_objective() -> None:
    objective = ZPDAlignment()
    objective.configure(3)
    objective.difficulty.copy_(torch.tensor([0.25, 0.5, 0.75]))
    ladder = Ladder(3)
    request = replace(ladder.request([[0]], 3), learner=torch.tensor([931]))
    short, padded = (rollout(ladder, request, torch.tensor([path])) for path in ([0, 2], [0, 2, -1]))
    trace = trace_of(short, objective)
    assert trace.title.startswith("learner 931")
    assert trace.difficulty == pytest.approx([0.25, 0.75])
    assert (trace.centre, trace.width) == pytest.approx((0.5, 0.1))
    assert trace_of(padded, objective) == trace


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_one_panel_for_each_path(count: int) -> None:
    figure = draw([Trace("one", [0.1, 0.2], [True, False], 0.5, 0.1)] * count)
    assert sum(axis.get_visible() for axis in figure.axes) == count


def test_an_empty_path_can_be_drawn() -> None:
    draw([Trace("nobody", [], [], 0.5, 0.1)])
