"""Big buffers that are used again: fresh memory costs more to touch than the arithmetic done in it."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

_free: list[Tensor] = []
_lock = threading.RLock()  # the same thread may come back while it collects garbage
_KEPT = 2  # one for the graph that is being built, one for that of the loss that is still held


class Workspace:
    """A flat buffer of at least `numel` numbers on the CPU; it can be used again once this object is gone.

    At most two free buffers are held on to; they stay as long as the process.

    >>> Workspace(10, torch.float32).buffer.numel() >= 10
    True
    """

    def __init__(self, numel: int, dtype: torch.dtype) -> None:
        self.buffer = _taken(numel, dtype)

    def __del__(self) -> None:
        with _lock:
            if len(_free) < _KEPT:
                _free.append(self.buffer)


def _taken(numel: int, dtype: torch.dtype) -> Tensor:
    """Return a free buffer that is large enough, else a new one in place of the oldest free one."""
    with _lock:
        for place, buffer in enumerate(_free):
            if buffer.dtype == dtype and buffer.numel() >= numel:
                return _free.pop(place)
        if len(_free) == _KEPT:
            _free.pop(0)
    return torch.empty(numel, dtype=dtype)
