"""What each step of a path is expected to bring."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.types import PathRequest, Simulator


@torch.no_grad()
def expected_gain(simulator: Simulator, request: PathRequest, path: Tensor) -> Tensor:
    """Return the gain in mean mastery of the targets that each step of `path` [B, L] brings, [B, L]; 0 after its end.

    Without targets, mastery of all concepts counts.
    """
    targets = torch.where(request.targets.any(1, keepdim=True), request.targets, True).float()
    share = targets / targets.sum(1, keepdim=True)
    state = simulator.start(request)
    level = (simulator.mastery(state) * share).sum(1)
    gains = []
    for step in range(path.shape[1]):
        state, _, _ = simulator.step(state, path[:, step])
        reached = (simulator.mastery(state) * share).sum(1)
        gains.append(reached - level)
        level = reached
    return torch.stack(gains, 1) if gains else level.new_zeros(len(level), 0)
