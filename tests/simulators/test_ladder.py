"""The learners of known best paths, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import Exercise, Interactions, State


def taken(ladder: Ladder, state: State, concept: list[int]) -> tuple[State, Tensor, Tensor]:
    asked = ladder.actions.at(torch.tensor(concept))
    probability = ladder.predict(state, asked)
    answer = ladder.respond(probability, None)
    return ladder.practise(state, asked, answer), answer, probability


def test_a_rung_is_learned_only_from_the_one_below() -> None:
    ladder = Ladder(3)
    state = ladder.start(ladder.request(targets=[[2]] * 2, length=2))
    state, answer, probability = taken(ladder, state, [1, 0])
    assert state[0].tolist() == [[0, 0, 0], [0.5, 0, 0]]
    assert answer.tolist() == probability.tolist() == [0, 0]
    state, answer, probability = taken(ladder, state, [-1, 0])
    assert state[0].tolist() == [[0, 0, 0], [1, 0, 0]]
    assert (answer.tolist()[1], probability.tolist()[1]) == (1, 0.5)


def test_right_answers_of_the_history_count() -> None:
    ladder = Ladder(3)
    log = Interactions.from_lists([[(0, 1), (0, 1), (0, 1), (1, 0)], [(2, 1)]])
    request = replace(ladder.request(targets=[[0, 1], [2]], length=2), history=log.batch(torch.arange(2)))
    assert ladder.start(request)[0].tolist() == [[1, 0, 0], [0, 0, 0.5]]


def test_candidates_practise_each_on_their_own() -> None:
    ladder = Ladder(3)
    state = (torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]),)
    asked = Exercise.of_concepts(torch.tensor([[0, 1], [1, -1]]))
    after = ladder.practise(state, asked, torch.ones(2, 2))
    assert after[0].tolist() == [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0], [0, 0, 0]]
    assert ladder.predict(state, asked)[0].tolist() == [0.5, 0.0]


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="num_concepts"):
        Ladder(0)
    with pytest.raises(SettingError, match="gain"):
        Ladder(4, gain=0.0)
