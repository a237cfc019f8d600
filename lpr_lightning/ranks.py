"""What every rank has, put together."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, distributed
from torchmetrics.utilities.distributed import gather_all_tensors

Value = TypeVar("Value")


def gathered(tensor: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Return the rows of all ranks on the CPU, in rank order; ranks may have different numbers of rows.

    Every rank must call it. `device` is where the process group can reach tensors (the module's own device).

    >>> gathered(torch.tensor([1, 2]))
    tensor([1, 2])
    """
    if not _distributed():
        return tensor.detach().cpu()
    return torch.cat(gather_all_tensors(tensor.detach().to(device))).cpu()


def gathered_objects(value: Value) -> list[Value]:
    """Return the values of all ranks, in rank order; meant for little things. Every rank must call it.

    >>> gathered_objects("one")
    ['one']
    """
    if not _distributed():
        return [value]
    values: list[Value] = [value] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def _distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()
