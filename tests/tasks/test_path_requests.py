"""Requests follow the protocol to the answer, and nothing under the padding matters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.tasks.cut_requests import CutRequests
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import Interactions, PathRequest, Split


def log_of(*concepts: list[int]) -> Interactions:
    return Interactions.from_lists([[(concept, step % 2) for step, concept in enumerate(one)] for one in concepts])


def requests(log: Interactions, task: PathRequests, split: Split = "test", seed: int = 0) -> PathRequest:
    examples = task.examples(log, split, 12, seed)
    request = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(request, PathRequest)
    return request


def cuts(task: PathRequests, log: Interactions, split: Split, seed: int = 0) -> CutRequests:
    examples = task.examples(log, split, 12, seed)
    assert isinstance(examples, CutRequests)
    return examples


def targets(request: PathRequest, row: int = 0) -> list[int]:
    return request.targets[row].nonzero().flatten().tolist()


def random_log(learners: int, seed: int = 0) -> Interactions:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 60, (learners,), generator=generator).tolist()
    return log_of(*[torch.randint(12, (length,), generator=generator).tolist() for length in lengths])


def test_history_and_targets_of_ten_answers() -> None:
    request = requests(log_of([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), PathRequests())
    assert request.history.concept.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert request.history.correct.flatten().tolist() == [0, 1, 0, 1, 0, 1]
    assert targets(request) == [8, 9]
    assert request.length.tolist() == [10]
    assert request.learner.tolist() == request.row.tolist() == [0]


def test_shares_of_logs_that_do_not_divide() -> None:
    # Of 13 answers the history is floor(7.8) = 7; the tail begins at the first i >= 10.4, that is 11.
    request = requests(log_of([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0]), PathRequests())
    assert request.history.concept.flatten().tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert targets(request) == [0, 11]


@pytest.mark.parametrize(("prefix", "length", "history"), [(0.29, 100, 29), (0.7, 10, 7), (0.57, 100, 57)])
def test_shares_are_not_spoiled_by_rounding(prefix: float, length: int, history: int) -> None:
    log = log_of([step % 12 for step in range(length)])
    assert PathRequests(prefix=prefix).examples(log, "test", 12, seed=0).sizes.tolist() == [history]


@pytest.mark.parametrize(("min_distinct", "rows"), [(7, [1]), (6, [0, 1]), (8, [])])
def test_logs_with_too_few_concepts_are_not_eligible(min_distinct: int, rows: list[int]) -> None:
    log = log_of([0, 1, 2, 3, 4, 4, 4, 4, 4, 5], [0, 1, 2, 3, 4, 6, 6, 6, 4, 5])
    assert requests(log, PathRequests(min_distinct=min_distinct)).learner.tolist() == rows


@pytest.mark.parametrize(("min_targets", "rows"), [(1, [0, 1]), (2, [1]), (3, [])])
def test_logs_with_too_few_targets_are_not_eligible(min_targets: int, rows: list[int]) -> None:
    log = log_of([0, 1, 2, 3, 4, 5, 6, 7, 8, 8], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert requests(log, PathRequests(min_targets=min_targets)).learner.tolist() == rows


def test_every_concept_of_an_answer_counts() -> None:
    log = log_of([0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    second = torch.tensor([-1, -1, -1, 5, -1, -1, -1, -1, 6, -1], dtype=torch.int32)
    both = replace(log, concept=torch.stack([log.concept[:, 0], second], 1))
    assert len(requests(log, PathRequests())) == 0
    request = requests(both, PathRequests())
    assert request.history.concept[0, 3].tolist() == [3, 5]
    assert targets(request) == [3, 4, 6]


def test_more_targets_than_wanted_keep_those_met_first() -> None:
    log = log_of([*range(12), 0, 1, 2, 3, 9, 8, 9, 7])
    assert targets(requests(log, PathRequests(max_targets=2))) == [8, 9]
    assert targets(requests(log, PathRequests())) == [7, 8, 9]


def test_longer_histories_keep_their_last_answers() -> None:
    request = requests(log_of([*range(10)], [*range(7), 0, 1, 2, 3]), PathRequests(max_history=2))
    assert request.history.concept.squeeze(-1).tolist() == [[4, 5], [4, 5]]


def test_training_requests_add_eligible_front_parts() -> None:
    log, task = random_log(40), PathRequests(train_cuts=4)
    whole = cuts(PathRequests(), log, "train")
    many = cuts(task, log, "train")
    count = len(whole.sizes)
    assert count * 3 < len(many.sizes) <= 40 * 4
    assert (many.stop[:count] == whole.stop).all()
    assert (many.stop[count:] < log.lengths[many.learner[count:]]).all()
    for learner, stop, tail in zip(many.learner.tolist(), many.stop.tolist(), many.tail.tolist()):
        concepts = log.batch(torch.tensor([learner])).concept.flatten().tolist()[:stop]
        assert len(set(concepts)) >= 7
        assert len(set(concepts[tail:])) >= 2
        assert tail == next(i for i in range(stop + 1) if i >= 0.8 * stop)


@pytest.mark.parametrize("split", ["val", "test"])
def test_held_out_learners_are_asked_once(split: Split) -> None:
    log = random_log(20)
    cut = cuts(PathRequests(train_cuts=8, lengths=[3]), log, split)
    plain = cuts(PathRequests(), log, split, seed=5)
    assert (cut.stop == plain.stop).all()
    assert (cut.length == 10).all()


def test_training_lengths_are_drawn() -> None:
    request = requests(random_log(50), PathRequests(lengths=[5, 20]), "train")
    assert set(request.length.tolist()) == {5, 20}


def test_the_seed_decides() -> None:
    log, task = random_log(50), PathRequests(train_cuts=3, lengths=[5, 10, 20], max_requests=30)
    first, same, other = (cuts(task, log, "train", seed) for seed in (1, 1, 2))
    assert torch.equal(first.stop, same.stop)
    assert torch.equal(first.length, same.length)
    assert not torch.equal(first.stop, other.stop)
    assert len(first.sizes) == 30


def test_rows_and_learners_survive_any_order() -> None:
    examples = cuts(PathRequests(), random_log(30), "test")
    request = examples.batch(torch.tensor([4, 2]))
    assert request.row.tolist() == [4, 2]
    assert request.learner.tolist() == examples.learner[torch.tensor([4, 2])].tolist()


def test_neighbours_in_a_batch_change_nothing_but_padding() -> None:
    examples = cuts(PathRequests(), random_log(30), "test")
    both = examples.batch(torch.arange(len(examples.sizes)))
    for row in range(len(both)):
        alone = examples.batch(torch.tensor([row]))
        size = int(examples.sizes[row])
        assert torch.equal(both.targets[row], alone.targets[0])
        assert torch.equal(both.history.concept[row, :size], alone.history.concept[0])
        assert not both.history.mask[row, size:].any()
        assert (both.history.concept[row, size:] == -1).all()


def test_logs_without_eligible_learners_give_no_requests() -> None:
    assert len(requests(log_of([0, 1], [2]), PathRequests(), "train")) == 0
    assert len(requests(Interactions.from_lists([]), PathRequests(train_cuts=2), "train")) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"length": 0},
        {"lengths": []},
        {"lengths": [5, 0]},
        {"prefix": 0.0},
        {"prefix": 1.0},
        {"target_tail": 0.0},
        {"target_tail": 0.5},
        {"min_distinct": 0},
        {"min_targets": 0},
        {"max_targets": 1},
        {"max_history": 0},
        {"train_cuts": 0},
        {"max_requests": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        PathRequests(**wrong)
