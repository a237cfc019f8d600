"""What every rank has, put together."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, distributed
from torchmetrics.utilities.distributed import gather_all_tensors

Value = TypeVar("Value")


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and how many there are.

    >>> rank_and_world()
    (0, 1)
    """
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def mean_count(count: Tensor) -> Tensor:
    """Return the mean over all ranks of how many entries each has, at least 1; every rank must call it.

    A sum over this rank's entries divided by it becomes, when ddp averages the gradients, that of the mean over all
    entries, however they are dealt out. In one process it is the count itself.

    >>> mean_count(torch.tensor(3))
    tensor(3.)
    """
    return mean_over_ranks(count.float()).clamp_min(1.0)


def mean_over_ranks(value: Tensor) -> Tensor:
    """Return the mean of a value over all ranks, without gradient; every rank must call it.

    >>> mean_over_ranks(torch.tensor(3.0))
    tensor(3.)
    """
    value = value.detach()
    if rank_and_world()[1] > 1:
        value = value.clone()
        distributed.all_reduce(value)
        value /= rank_and_world()[1]
    return value


def gathered(tensor: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Return the rows of all ranks on the CPU, in rank order; ranks may have different numbers of rows.

    Every rank must call it. `device` is where the process group can reach tensors (the module's own device).

    >>> gathered(torch.tensor([1, 2]))
    tensor([1, 2])
    """
    if rank_and_world()[1] == 1:
        return tensor.detach().cpu()
    return torch.cat(gather_all_tensors(tensor.detach().to(device))).cpu()


def gathered_objects(value: Value) -> list[Value]:
    """Return the values of all ranks, in rank order; meant for little things. Every rank must call it.

    >>> gathered_objects("one")
    ['one']
    """
    world = rank_and_world()[1]
    values: list[Value] = [value] * world
    if world > 1:
        distributed.all_gather_object(values, value)
    return values


def rows_of_all_ranks(rows: Tensor, count: int) -> Tensor:
    """Return the rows [count, D] of every rank, rank by rank, with gradient; shorter ones end in zeros.

    Where every rank computes the same loss of them, ddp's mean of the gradients is that of one process. Every rank
    must call it.
    """
    world = rank_and_world()[1]
    padded = torch.cat([rows, rows.new_zeros(count - len(rows), *rows.shape[1:])])
    if world == 1:
        return padded
    every: Tensor = _AllRows.apply(padded)  # type: ignore[no-untyped-call]
    return every


class _AllRows(torch.autograd.Function):
    """Gathers rows; the gradient of a rank's own is the sum of what all ranks send back."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(rank_and_world()[1])]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        distributed.all_reduce(gradient)
        rank, world = rank_and_world()
        return gradient.chunk(world)[rank]
