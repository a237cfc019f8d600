"""The requests of several tasks as those of one."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.tasks.joined_requests import JoinedRequests
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import Interactions, PathRequest

LOG = Interactions.from_lists([[(c % 5, c % 2) for c in range(20)], [(c % 3, 1) for c in range(9)]])
SHORT = PathRequests(length=3, prefix=0.4, min_distinct=2, min_targets=1).examples(LOG, "test", 5, 0)
LONG = PathRequests(length=7, min_distinct=2, min_targets=1).examples(LOG, "test", 5, 0)


def test_requests_come_as_they_were_asked_for_whatever_their_task() -> None:
    joined = JoinedRequests([SHORT, LONG])
    assert torch.equal(joined.sizes, torch.cat([SHORT.sizes, LONG.sizes]))
    index = torch.tensor([3, 0, 2, 1, 3])
    batch = joined.batch(index)
    assert batch.row.tolist() == index.tolist()
    assert batch.length.tolist() == [7, 3, 7, 3, 7]
    for row, number in enumerate(index.tolist()):
        part, place = (SHORT, number) if number < 2 else (LONG, number - 2)
        own = part.batch(torch.tensor([place]))
        assert isinstance(own, PathRequest)
        size = int(batch.history.lengths[row])
        assert size == int(own.history.lengths)
        assert torch.equal(batch.history.concept[row, :size], own.history.concept[0, :size])
        assert torch.equal(batch.history.correct[row, :size], own.history.correct[0, :size])
        assert torch.equal(batch.targets[row], own.targets[0])
        assert int(batch.learner[row]) == int(own.learner)
        assert not bool(batch.history.mask[row, size:].any())


def test_nobody_is_an_empty_batch() -> None:
    assert len(JoinedRequests([SHORT, LONG]).batch(torch.arange(0))) == 0


def test_other_examples_are_refused() -> None:
    answers = NextAnswers().examples(LOG, "test", 5, 0)
    with pytest.raises(SettingError, match="further_tasks"):
        JoinedRequests([LONG, answers])
