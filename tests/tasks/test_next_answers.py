"""Windows of answers cover each log once, in order."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.types import InteractionBatch, Interactions, Split


def log_of(*lengths: int) -> Interactions:
    return Interactions.from_lists([[(step, step % 2) for step in range(length)] for length in lengths])


def windows(log: Interactions, split: Split, *rows: int) -> InteractionBatch:
    """Return some of a log's windows of four answers."""
    batch = NextAnswers(max_length=4).examples(log, split, 10, seed=0).batch(torch.tensor(rows))
    assert isinstance(batch, InteractionBatch)
    return batch


def test_long_logs_are_cut_into_consecutive_windows() -> None:
    log = log_of(10, 4, 2)
    assert NextAnswers(max_length=4).examples(log, "train", 10, seed=0).sizes.tolist() == [4, 4, 2, 4, 2]
    assert windows(log, "train", 1).concept.flatten().tolist() == [4, 5, 6, 7]
    assert windows(log, "train", 2).concept.flatten().tolist() == [8, 9]


def test_evaluation_may_see_whole_logs_while_training_sees_windows() -> None:
    task, log = NextAnswers(max_length=4, evaluation_length=100), log_of(10, 3)
    assert task.examples(log, "train", 10, seed=0).sizes.tolist() == [4, 4, 2, 3]
    assert task.examples(log, "val", 10, seed=0).sizes.tolist() == [10, 3]
    assert task.examples(log, "test", 10, seed=0).sizes.tolist() == [10, 3]


def test_windows_without_a_next_answer_are_left_out() -> None:
    log = log_of(5, 1, 0, 3)
    assert NextAnswers(max_length=4).examples(log, "train", 10, seed=0).sizes.tolist() == [4, 3]
    assert windows(log, "train", 1).learner.tolist() == [3]


def test_shorter_windows_are_padded_on_the_right() -> None:
    batch = windows(log_of(4, 2), "val", 1, 0)
    assert batch.mask.tolist() == [[True, True, False, False], [True] * 4]
    assert batch.concept[0, 2:].flatten().tolist() == [-1, -1]
    assert batch.correct.tolist() == [[0, 1, 0, 0], [0, 1, 0, 1]]


def test_a_log_without_learners_has_no_windows() -> None:
    assert len(NextAnswers().examples(Interactions.from_lists([]), "test", 10, seed=0).sizes) == 0


def test_windows_too_short_to_predict_are_refused() -> None:
    with pytest.raises(SettingError, match="max_length=1"):
        NextAnswers(max_length=1)
    with pytest.raises(SettingError, match="evaluation_length=1"):
        NextAnswers(evaluation_length=1)
