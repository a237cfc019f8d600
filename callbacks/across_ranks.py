"""Tensors of every rank, put one after another."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torchmetrics.utilities.distributed import gather_all_tensors


def gathered(tensor: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Return the rows of all ranks on the CPU, in rank order; ranks may have different numbers of rows.

    Every rank must call it. `device` is where the process group can reach tensors (the module's own device).

    >>> gathered(torch.tensor([1, 2]))
    tensor([1, 2])
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return tensor.detach().cpu()
    return torch.cat(gather_all_tensors(tensor.detach().to(device))).cpu()
