"""Copying and bigrams against plain counting."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.path_baselines import (
    bigram_path,
    bigram_successors,
    copy_last,
    most_frequent,
    transition_counts,
)
from lpr_lightning.types import Interactions


def sequences(seed: int, concepts: int = 6) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 25, (12,), generator=generator).tolist()
    return [torch.randint(concepts, (length,), generator=generator).tolist() for length in lengths]


def log_of(rows: list[list[int]]) -> Interactions:
    return Interactions.from_lists([[(concept, 1) for concept in row] for row in rows])


def slow_next(rows: list[list[int]]) -> dict[int, list[int]]:
    pairs = Counter((a, b) for row in rows for a, b in pairwise(row))
    often = Counter(concept for row in rows for concept in row)
    return {a: sorted(range(6), key=lambda b: (-pairs[a, b], -often[b], b)) for a in range(6)}


@pytest.mark.parametrize("seed", range(3))
def test_transitions_and_successors_match_counting_by_hand(seed: int) -> None:
    rows = sequences(seed)
    pairs = Counter((a, b) for row in rows for a, b in pairwise(row))
    counts = transition_counts(log_of(rows), 6)
    assert all(int(counts[a, b]) == pairs[a, b] for a in range(6) for b in range(6))
    assert int(counts.sum()) == sum(max(len(row) - 1, 0) for row in rows)
    assert bigram_successors(log_of(rows), 6, 6).tolist() == list(slow_next(rows).values())


@pytest.mark.parametrize("no_repeat", [False, True])
def test_the_path_takes_the_likeliest_successor_that_is_allowed(no_repeat: bool) -> None:
    rows = sequences(5)
    following = slow_next(rows)
    path = bigram_path(bigram_successors(log_of(rows), 6, 6), torch.arange(6), 5, no_repeat)
    for start, got in enumerate(path.tolist()):
        last, expected = start, list[int]()
        for _ in range(5):
            last = next(c for c in following[last] if not (no_repeat and c in expected))
            expected.append(last)
        assert got == expected
        assert not no_repeat or len(set(got)) == 5


def test_copies_and_the_commonest() -> None:
    assert copy_last(torch.tensor([4, 2]), 3).tolist() == [[4, 4, 4], [2, 2, 2]]
    assert most_frequent(log_of([[3, 3, 1], [1, 1]]), 4).tolist() == [1, 3, 0, 2]


def test_more_successors_than_concepts_are_refused() -> None:
    with pytest.raises(SettingError, match="count=7"):
        bigram_successors(log_of(sequences(0)), 6, 7)
