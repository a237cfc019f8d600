"""The picture of learning effect against diversity."""

from __future__ import annotations

import torch
from matplotlib.collections import PathCollection

from lpr_lightning.callbacks.pareto_front import draw
from lpr_lightning.callbacks.pictures import as_array


def test_everything_is_named() -> None:
    points = torch.tensor([[0.5, 0.2], [1.0, 0.4], [0.7, 0.9]])
    figure = draw(points, {"random": (0.9, 0.1)}, [(0.5, 0.1), (0.6, 0.3)])
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [
        "front of single paths",
        "front of means",
        "random, mean 0.10",
        "its way here",
        "policy, mean 0.50",
    ]


def test_outliers_do_not_squeeze_the_picture() -> None:
    points = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    points[0, 1] = -20.0
    (axis,) = draw(points, {}, []).axes
    assert axis.get_ylim()[0] > -1
    assert "1 below the picture" in axis.get_title(loc="left")


def test_at_most_max_points_are_drawn() -> None:
    (axis,) = draw(torch.rand(50, 2), {}, [], max_points=10).axes
    cloud = next(part for part in axis.collections if isinstance(part, PathCollection))
    assert len(cloud.get_offsets()) == 10  # type: ignore[arg-type]


def test_one_point_is_enough() -> None:
    assert as_array(draw(torch.tensor([[1.0, 1.0]]), {}, [])).shape[2] == 3
