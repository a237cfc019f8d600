"""Greedy and beam search against trying every path."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.nets.path_search import Step, search_path
from lpr_lightning.types import State

CONCEPTS, LENGTH = 4, 3


def markov(seed: int) -> tuple[Tensor, Step]:
    """Return logits [steps, before, next] and a step function that reads them; its state counts the steps."""
    table = 2 * torch.randn(LENGTH, CONCEPTS, CONCEPTS, generator=torch.Generator().manual_seed(seed))

    def step(state: State, before: Tensor, number: int) -> tuple[Tensor, State]:
        assert bool((state[0] == number).all())
        return table[number][before], (state[0] + 1,)

    return table, step


def every_path(table: Tensor, start: int, no_repeat: bool) -> list[tuple[float, tuple[int, ...]]]:
    chance = table.log_softmax(-1)
    scored = []
    for path in product(range(CONCEPTS), repeat=LENGTH):
        if no_repeat and len(set(path)) < LENGTH:
            continue
        before = (start, *path)
        scored.append((float(sum(chance[t, before[t], before[t + 1]] for t in range(LENGTH))), path))
    return sorted(scored, reverse=True)


@pytest.mark.parametrize("no_repeat", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_likeliest_path(seed: int, no_repeat: bool) -> None:
    table, step = markov(seed)
    path, score = search_path(step, (torch.zeros(4, 1),), torch.arange(4), LENGTH, CONCEPTS**LENGTH, no_repeat)
    for start in range(CONCEPTS):
        best, expected = every_path(table, start, no_repeat)[0]
        assert tuple(path[start].tolist()) == expected
        assert float(score[start]) == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("no_repeat", [False, True])
def test_greedy_takes_the_likeliest_step_that_is_allowed(no_repeat: bool) -> None:
    table, step = markov(7)
    path, _ = search_path(step, (torch.zeros(4, 1),), torch.arange(4), LENGTH, 1, no_repeat)
    for start, got in enumerate(path.tolist()):
        before, taken = start, list[int]()
        for number in range(LENGTH):
            order = table[number, before].argsort(descending=True).tolist()
            before = next(c for c in order if not (no_repeat and c in taken))
            taken.append(before)
        assert got == taken


def test_a_wider_beam_never_finds_less() -> None:
    for seed in range(10):
        _, step = markov(seed)
        scores = [search_path(step, (torch.zeros(4, 1),), torch.arange(4), LENGTH, w)[1] for w in (1, 64)]
        assert bool((scores[1] >= scores[0] - 1e-6).all())


def test_settings_that_leave_no_path_are_refused() -> None:
    step = markov(0)[1]
    with pytest.raises(SettingError, match="beam_width"):
        search_path(step, (torch.zeros(1, 1),), torch.zeros(1, dtype=torch.int64), 2, width=0)

    def flat(state: State, before: Tensor, number: int) -> tuple[Tensor, State]:
        return torch.zeros(len(before), CONCEPTS), state

    with pytest.raises(SettingError, match="no_repeat"):
        search_path(flat, (torch.zeros(1, 1),), torch.zeros(1, dtype=torch.int64), CONCEPTS + 1, no_repeat=True)


def test_no_rows_give_no_paths() -> None:
    def flat(state: State, before: Tensor, number: int) -> tuple[Tensor, State]:
        return torch.zeros(len(before), CONCEPTS), state

    assert search_path(flat, (torch.zeros(0, 1),), torch.zeros(0, dtype=torch.int64), 2)[0].shape == (0, 2)
