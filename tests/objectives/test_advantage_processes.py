"""Advantages with statistics over the batch are the same on two processes as on one, however groups are dealt out."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed

from lpr_lightning.objectives import GDPO, HVO, Advantage

REWARD = torch.randn(7, 4, 2, generator=torch.Generator().manual_seed(0))
REWARD[3] = -9.0  # a group of equal reward
ADVANTAGES: list[Advantage] = [GDPO({"length": 0.5}), HVO()]


def advantages(rows: slice) -> list[Tensor]:
    rewards = {"zpd": REWARD[rows, :, 0], "length": REWARD[rows, :, 1]}
    return [advantage(rewards) for advantage in ADVANTAGES]


def work(rank: int, middle: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(advantages(slice(0, middle) if rank == 0 else slice(middle, 7)), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("middle", [3, 7])
def test_two_processes_give_the_advantages_of_one(tmp_path: Path, middle: int) -> None:
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=work, args=(rank, middle, str(tmp_path)), daemon=True) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=60)
    assert [process.exitcode for process in ranks] == [0, 0]
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for number, expected in enumerate(advantages(slice(0, 7))):
        torch.testing.assert_close(torch.cat([part[number] for part in parts]), expected)
        alone = torch.cat([advantages(rows)[number] for rows in (slice(0, 3), slice(3, 7))])
        assert not torch.allclose(alone, expected)  # the batch does count
