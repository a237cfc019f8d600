"""The learners of known best paths, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import Interactions


def test_a_rung_is_learned_only_from_the_one_below() -> None:
    ladder = Ladder(3)
    state = ladder.start(ladder.request(targets=[[2]] * 2, length=2))
    state, answer, probability = ladder.step(state, torch.tensor([1, 0]))
    assert state[0].tolist() == [[0, 0, 0], [0.5, 0, 0]]
    assert answer.tolist() == probability.tolist() == [0, 0]
    state, answer, probability = ladder.step(state, torch.tensor([-1, 0]))
    assert state[0].tolist() == [[0, 0, 0], [1, 0, 0]]
    assert (answer.tolist(), probability.tolist()) == ([0, 1], [0, 0.5])


def test_right_answers_of_the_history_count() -> None:
    ladder = Ladder(3)
    log = Interactions.from_lists([[(0, 1), (0, 1), (0, 1), (1, 0)], [(2, 1)]])
    request = replace(ladder.request(targets=[[0, 1], [2]], length=2), history=log.batch(torch.arange(2)))
    state = ladder.start(request)
    assert state[0].tolist() == [[1, 0, 0], [0, 0, 0.5]]
    assert [part.tolist() for part in ladder.exam(state, request.targets)] == [[1, 1], [2, 1]]


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="num_concepts"):
        Ladder(0)
    with pytest.raises(SettingError, match="gain"):
        Ladder(4, gain=0.0)
