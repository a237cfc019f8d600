"""The picture of predicted against observed success."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.callbacks.pictures import as_array
from lpr_lightning.callbacks.reliability_diagram import draw
from lpr_lightning.functional.reliability import Binning, reliability


@pytest.mark.parametrize("binning", ["width", "count"])
def test_points_counts_and_title(binning: Binning) -> None:
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(1500, generator=generator)
    correct = (torch.rand(1500, generator=generator) < probability).float()
    result = reliability(probability, correct, 8, binning)
    figure = draw(probability, correct, 8, binning)
    axis, below = figure.axes
    assert axis.get_title(loc="left") == f"1,500 answers, ECE {result.ece:.3f}, Brier {result.brier:.3f}"
    (points,) = (line for line in axis.lines if len(line.get_xdata()) == 8 and line.get_marker() == "o")  # type: ignore[arg-type]
    assert list(points.get_xdata()) == pytest.approx(result.predicted.tolist())  # type: ignore[arg-type]
    assert list(points.get_ydata()) == pytest.approx(result.observed.tolist())  # type: ignore[arg-type]
    assert sum(bar.get_height() for bar in below.patches) == 1500  # type: ignore[attr-defined]


def test_one_answer_is_enough() -> None:
    assert as_array(draw(torch.tensor([1.0]), torch.tensor([0.0]))).shape[2] == 3
