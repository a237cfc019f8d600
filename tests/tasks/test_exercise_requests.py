"""Where learners start, and what is known of them then."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.tasks.exercise_requests import ExerciseRequests
from lpr_lightning.types import Interactions, PathRequest

LENGTHS = [3, 7, 12, 20]


def log() -> Interactions:
    return Interactions.from_lists([[(place % 5, place % 2) for place in range(count)] for count in LENGTHS])


def requests(task: ExerciseRequests, seed: int = 0) -> PathRequest:
    examples = task.examples(log(), "test", 5, seed)
    found = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(found, PathRequest)
    return found


@pytest.mark.parametrize(("starts", "stride"), [(1, None), (2, 3), (None, None), (None, 1)])
def test_starts_against_a_loop(starts: int | None, stride: int | None) -> None:
    task = ExerciseRequests(length=3, history=4, starts=starts, stride=stride)
    expected = []
    for learner, count in enumerate(LENGTHS):
        places = list(range(4, count - 3 + 1, stride or 3))[:starts]
        expected += [(learner, place) for place in places]
    found = requests(task)
    assert list(zip(found.learner.tolist(), found.history.lengths.tolist())) == expected
    assert found.row.tolist() == list(range(len(expected)))
    assert set(found.length.tolist()) == {3}
    for row, (_, place) in enumerate(expected):
        assert found.targets[row].nonzero().flatten().tolist() == sorted({(place + step) % 5 for step in range(3)})
        assert found.history.concept[row, :place, 0].tolist() == [step % 5 for step in range(place)]


def test_a_choice_of_many_is_that_of_the_seed() -> None:
    task = ExerciseRequests(length=1, history=0, starts=None, max_requests=9)
    first, again, other = (requests(task, seed).history.lengths.tolist() for seed in (0, 0, 1))
    assert first == again
    assert len(first) == 9
    assert first != other


def test_settings_are_checked() -> None:
    for name, value in (("length", 0), ("history", -1), ("starts", 0), ("stride", 0), ("max_requests", 0)):
        with pytest.raises(SettingError, match=name):
            ExerciseRequests(**{name: value})
