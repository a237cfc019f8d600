"""Which learners are looked at."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lpr_lightning.callbacks.chosen_learners import ChosenLearners
from lpr_lightning.types import InteractionBatch, Interactions


def batch() -> InteractionBatch:
    """Twelve learners with 0 to 11 answers."""
    log = Interactions.from_lists([[(step % 3, 1) for step in range(answers)] for answers in range(12)])
    return log.batch(torch.arange(12))


def chosen(order: list[int], size: int = 12, history: InteractionBatch | None = None, seed: int = 0) -> list[int]:
    choice = ChosenLearners(count=3, steps=6, min_answers=4, seed=seed)
    for index in torch.tensor(order).tensor_split(len(order) // size):
        choice.take((batch() if history is None else history).select(index))
    return [int(one.learner) for one in choice.across_ranks()]


def test_order_and_batches_do_not_matter() -> None:
    forward, backward = list(range(12)), list(range(11, -1, -1))
    assert chosen(forward) == chosen(backward) == chosen(forward, 3) == chosen(backward, 2)


def test_learners_with_few_answers_come_last() -> None:
    assert all(min(chosen(list(range(12)), seed=seed)) >= 4 for seed in range(10))
    assert set(chosen([0, 1, 2, 9], 4)) == {1, 2, 9}


def test_seeds_choose_differently() -> None:
    assert len({tuple(chosen(list(range(12)), seed=seed)) for seed in range(10)}) > 5


def test_the_longest_history_of_a_learner_counts() -> None:
    history = replace(batch(), learner=torch.full((12,), 7))
    choice = ChosenLearners(count=3, steps=6, min_answers=4, seed=0)
    for row in (3, 5, 2):
        choice.take(history.select(torch.tensor([row])))
    (one,) = choice.across_ranks()
    assert one.mask.shape == (1, 5)


def test_unseen_learners_are_told_apart() -> None:
    history = replace(batch(), learner=torch.full((12,), -1))
    assert chosen(list(range(12)), history=history) == [-1, -1, -1]


@pytest.mark.parametrize("row", [5, 11])
def test_histories_are_cut_and_hold_no_padding(row: int) -> None:
    choice = ChosenLearners(count=1, steps=6, min_answers=1, seed=0)
    choice.take(batch().select(torch.tensor([row])))
    (one,) = choice.across_ranks()
    assert one.mask.all()
    assert one.concept[0, :, 0].tolist() == [0, 1, 2, 0, 1, 2][: min(row, 6)]
