"""The picture of mastery over time."""

from __future__ import annotations

from dataclasses import replace

import torch

from lpr_lightning.callbacks.mastery_heatmap import NAME_WIDTH, draw, panel_of
from lpr_lightning.callbacks.pictures import as_array
from lpr_lightning.nets.dkt import DKTNet
from lpr_lightning.types import InteractionBatch, Interactions

ANSWERS = [(4, 1), (2, 0), (4, 0), (0, 1), (2, 1), (4, 1)]


def history() -> InteractionBatch:
    return replace(Interactions.from_lists([ANSWERS]).batch(torch.tensor([0])), learner=torch.tensor([931]))


@torch.no_grad()
def test_rows_are_the_concepts_met_most_in_the_order_met() -> None:
    panel = panel_of(DKTNet(5, 4, 4).eval(), history(), ["zero", "one", "two", "three", "four"], 2)
    assert panel.title == "learner 931"
    assert panel.names == ["four (3)", "two (2)"]
    assert panel.mastery.shape == (2, 7)
    assert panel.right == [(1, 0), (5, 1), (6, 0)]
    assert panel.wrong == [(2, 1), (3, 0)]
    assert panel.others == [(4, True)]


@torch.no_grad()
def test_answers_on_several_concepts_are_marked_on_each() -> None:
    several = replace(history(), concept=torch.tensor([[[0, 1], [1, -1], [2, 3]]]), correct=torch.tensor([[1.0, 0, 1]]))
    several = replace(several, item=several.item[:, :3], mask=several.mask[:, :3])
    panel = panel_of(DKTNet(4, 4, 4).eval(), several, [], 3)
    assert panel.names == ["concept 0 (1)", "concept 1 (2)", "concept 2 (1)"]
    assert panel.right == [(1, 0), (1, 1), (3, 2)]
    assert panel.wrong == [(2, 1)]
    assert panel.others == []


@torch.no_grad()
def test_long_names_are_cut_to_one_line() -> None:
    names = ["a very long name\nof a concept that goes on and on"] * 5
    panel = panel_of(DKTNet(5, 4, 4).eval(), history(), names, 8)
    assert all(len(name) <= NAME_WIDTH + 4 and "\n" not in name for name in panel.names)
    figure = draw([panel, panel])
    assert as_array(figure).shape[2] == 3
    panels = [axis for axis in figure.axes if axis.get_title(loc="left")]
    assert [len(axis.get_yticks()) for axis in panels] == [3, 3]
    assert {axis.get_xlim() for axis in panels} == {(-0.5, 6.5)}
    assert panels[0].images[0].get_clim() == (0, 1)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["answered right", "answered wrong"]


@torch.no_grad()
def test_the_line_of_other_concepts_is_there_where_it_is_needed() -> None:
    tracer = DKTNet(5, 4, 4).eval()
    for most, lines in ((2, 3), (3, 3), (1, 2)):
        (axis, *_) = draw([panel_of(tracer, history(), [], most)]).axes
        assert len(axis.get_yticks()) == lines
