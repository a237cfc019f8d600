"""Arguments that cannot work are refused at construction."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lightning.pytorch import Callback

from lpr_lightning import callbacks
from lpr_lightning.errors import SettingError
from lpr_lightning.policies import Oracle, RandomPaths

BAD: list[tuple[str, Callable[[], Callback]]] = [
    ("stages", lambda: callbacks.ParetoFront(stages=["train"])),  # type: ignore[list-item]
    ("stages", lambda: callbacks.TrueEffect(stages=[])),
    ("every_n_epochs", lambda: callbacks.ParetoFront(every_n_epochs=0)),
    ("max_points", lambda: callbacks.ParetoFront(max_points=0)),
    ("samples", lambda: callbacks.DifficultyTrace(samples=0)),
    ("samples", lambda: callbacks.PathSamples(samples=-1)),
    ("policies", lambda: callbacks.CompareBaselines([RandomPaths(0), RandomPaths(1)])),
    ("policies", lambda: callbacks.CompareBaselines([object()])),  # type: ignore[list-item]
    ("policies", lambda: callbacks.CompareBaselines([Oracle()])),
    ("paths", lambda: callbacks.RankFidelity(paths=4)),
    ("learners", lambda: callbacks.RankFidelity(learners=0)),
    ("draws", lambda: callbacks.RankFidelity(draws=0)),
    ("name", lambda: callbacks.MetricsJson("runs/metrics.json")),
    ("name", lambda: callbacks.PathWriter("")),
    ("name", lambda: callbacks.MasteryWriter("a/b")),
    ("width", lambda: callbacks.ResultsTable(width=10)),
    ("policy", lambda: callbacks.ResultsTable(policy="")),
    ("columns", lambda: callbacks.ResultsTable(columns={})),
    ("bins", lambda: callbacks.ReliabilityDiagram(bins=0)),
    ("binning", lambda: callbacks.ReliabilityDiagram(binning="size")),  # type: ignore[arg-type]
    ("learners", lambda: callbacks.MasteryHeatmap(learners=0)),
    ("concepts", lambda: callbacks.MasteryHeatmap(concepts=0)),
    ("answers", lambda: callbacks.MasteryHeatmap(answers=0)),
    ("min_answers", lambda: callbacks.MasteryHeatmap(min_answers=-1)),
    ("front", lambda: callbacks.MasteryReport(front=1.0)),
    ("refresh_rate", lambda: callbacks.StageProgressBar(refresh_rate=-1)),
    ("seconds", lambda: callbacks.StageProgressBar(seconds=-1.0)),
]


@pytest.mark.parametrize(("name", "build"), BAD)
def test_bad_arguments_are_named(name: str, build: Callable[[], Callback]) -> None:
    with pytest.raises(SettingError, match=name):
        build()


def test_states_of_two_of_a_kind_have_keys_of_their_own() -> None:
    assert callbacks.ParetoFront(stages=["val"]).state_key != callbacks.ParetoFront(stages=["test"]).state_key
    assert callbacks.ParetoFront(every_n_epochs=2).state_key == callbacks.ParetoFront().state_key


def test_everything_exported_is_there() -> None:
    assert sorted(callbacks.__all__) == callbacks.__all__
    assert all(hasattr(callbacks, name) for name in callbacks.__all__)
