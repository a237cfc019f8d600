"""Arguments that cannot work are refused at construction."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lightning.pytorch import Callback

import lpr_lightning.callbacks as room
from lpr_lightning.demonstrations.baselines import RandomPaths
from lpr_lightning.errors import SettingError

BAD: list[tuple[str, Callable[[], Callback]]] = [
    ("stages", lambda: room.ParetoFront(stages=["train"])),  # type: ignore[list-item]
    ("stages", lambda: room.TrueEffect(stages=[])),
    ("every_n_epochs", lambda: room.ParetoFront(every_n_epochs=0)),
    ("max_points", lambda: room.ParetoFront(max_points=0)),
    ("samples", lambda: room.DifficultyTrace(samples=0)),
    ("samples", lambda: room.PathSamples(samples=-1)),
    ("policies", lambda: room.CompareBaselines([RandomPaths(0), RandomPaths(1)])),
    ("policies", lambda: room.CompareBaselines([object()])),  # type: ignore[list-item]
    ("name", lambda: room.MetricsJson("runs/metrics.json")),
    ("name", lambda: room.PathWriter("")),
    ("width", lambda: room.ResultsTable(width=10)),
    ("policy", lambda: room.ResultsTable(policy="")),
    ("columns", lambda: room.ResultsTable(columns={})),
    ("bins", lambda: room.ReliabilityDiagram(bins=0)),
    ("binning", lambda: room.ReliabilityDiagram(binning="size")),  # type: ignore[arg-type]
    ("learners", lambda: room.MasteryHeatmap(learners=0)),
    ("concepts", lambda: room.MasteryHeatmap(concepts=0)),
    ("answers", lambda: room.MasteryHeatmap(answers=0)),
    ("min_answers", lambda: room.MasteryHeatmap(min_answers=-1)),
    ("front", lambda: room.MasteryReport(front=1.0)),
    ("refresh_rate", lambda: room.StageProgressBar(refresh_rate=-1)),
    ("seconds", lambda: room.StageProgressBar(seconds=-1.0)),
]


@pytest.mark.parametrize(("name", "build"), BAD)
def test_bad_arguments_are_named(name: str, build: Callable[[], Callback]) -> None:
    with pytest.raises(SettingError, match=name):
        build()


def test_states_of_two_of_a_kind_are_kept_apart() -> None:
    assert room.ParetoFront(stages=["val"]).state_key != room.ParetoFront(stages=["test"]).state_key
    assert room.ParetoFront(every_n_epochs=2).state_key == room.ParetoFront().state_key


def test_everything_exported_is_there() -> None:
    assert sorted(room.__all__) == room.__all__
    assert all(hasattr(room, name) for name in room.__all__)
