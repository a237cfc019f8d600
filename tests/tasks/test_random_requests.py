"""Unseen learners' requests are uniform, seeded and answered with the log's success rates."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.tasks.random_requests import RandomRequests
from lpr_lightning.types import Interactions, PathRequest, Split

LOG = Interactions.from_lists([[(0, 1), (0, 1), (1, 0), (1, 0), (2, 1), (2, 0)]])


def requests(task: RandomRequests, split: Split = "train", seed: int = 0, num_concepts: int = 6) -> PathRequest:
    examples = task.examples(LOG, split, num_concepts, seed)
    request = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(request, PathRequest)
    return request


def test_each_request_has_its_targets_and_history() -> None:
    request = requests(RandomRequests(targets=2, initial_length=4, length=7, train=50))
    assert len(request) == 50
    assert (request.targets.sum(1) == 2).all()
    assert (request.history.lengths == 4).all()
    assert (request.length == 7).all()
    assert (request.learner == -1).all()


def test_answers_follow_the_success_rates() -> None:
    history = requests(RandomRequests(train=500)).history
    concept = history.concept.squeeze(-1)
    rate = [history.correct[concept == one].mean().item() for one in range(6)]
    assert rate[0] == 1
    assert rate[1] == 0
    assert rate[2:] == pytest.approx([0.5] * 4, abs=0.06)


def test_concepts_are_drawn_uniformly() -> None:
    request = requests(RandomRequests(train=2000))
    assert torch.bincount(request.history.concept.flatten()).div(20000).tolist() == pytest.approx([1 / 6] * 6, abs=0.02)
    assert request.targets.float().mean(0).tolist() == pytest.approx([0.5] * 6, abs=0.04)


def test_the_seed_and_the_split_decide() -> None:
    task = RandomRequests(train=20, val=20)
    first, same, other = (requests(task, "train", seed).history.concept for seed in (1, 1, 2))
    val = requests(task, "val", 1).history.concept
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first, val)


def test_histories_may_be_empty() -> None:
    assert requests(RandomRequests(initial_length=0, train=2)).history.concept.shape == (2, 0, 1)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(SettingError, match="targets=0"):
        RandomRequests(targets=0)
    with pytest.raises(SettingError, match="initial_length=-1"):
        RandomRequests(initial_length=-1)
    with pytest.raises(SettingError, match="targets=7"):
        requests(RandomRequests(targets=7))
