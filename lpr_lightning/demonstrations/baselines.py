"""Plain policies that every report is measured against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.demonstrations.randomness import generator_for
from lpr_lightning.types import PAD, PathRequest, Simulator


@dataclass(frozen=True)
class RandomPaths:
    """Recommends concepts drawn evenly from all, repeats allowed.

    Args:
        seed: Of the draws; the same requests get the same paths again.

    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> RandomPaths(seed=1).plan(ladder.request(targets=[[0], [1]], length=4), ladder).shape
    torch.Size([2, 4])
    """

    seed: int = 0

    name = "random"

    def plan(self, request: PathRequest, simulator: Simulator) -> Tensor:
        """Return one path for each request, [B, L] int64, -1 after its end."""
        evenly = torch.ones_like(request.targets, dtype=torch.float32)
        return _drawn(request, evenly, self.seed)


@dataclass(frozen=True)
class RandomTargets:
    """Recommends concepts drawn evenly from the learner's targets, repeats allowed.

    Args:
        seed: Of the draws; the same requests get the same paths again.

    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> RandomTargets().plan(ladder.request(targets=[[1]], length=2), ladder)
    tensor([[1, 1]])
    """

    seed: int = 0

    name = "random_targets"

    def plan(self, request: PathRequest, simulator: Simulator) -> Tensor:
        """Return one path for each request; requests without targets get any concepts."""
        wanted = request.targets | ~request.targets.any(1, keepdim=True)
        return _drawn(request, wanted.float(), self.seed)


@dataclass(frozen=True)
class DKTRec:
    """Recommends, step by step, the concept whose predicted success is nearest to one half.

    Source: the DKTRec baseline of arXiv 2601.14686; the probabilities are the simulator's own.
    Differs from the public code, which takes the largest probability below one half.

    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3, gain=0.4)
    >>> DKTRec().plan(ladder.request(targets=[[2]], length=3), ladder)
    tensor([[0, 0, 0]])
    """

    name = "dktrec"

    @torch.no_grad()
    def plan(self, request: PathRequest, simulator: Simulator) -> Tensor:
        """Return one path for each request, [B, L] int64, -1 after its end."""
        longest = int(request.length.max()) if len(request) else 0
        path = request.length.new_full((len(request), longest), PAD)
        state = simulator.start(request)
        for step in range(longest):
            concept = (simulator.mastery(state) - 0.5).abs().argmin(1)
            path[:, step] = torch.where(step < request.length, concept, PAD)
            state, _, _ = simulator.step(state, path[:, step])
        return path


def _drawn(request: PathRequest, weight: Tensor, seed: int) -> Tensor:
    """Return paths of concepts drawn in proportion to `weight` [B, N]."""
    longest = int(request.length.max()) if len(request) else 0
    if longest == 0:
        return request.length.new_empty((len(request), 0))
    generator = generator_for(seed, request.row)
    path = torch.multinomial(weight, longest, replacement=True, generator=generator)
    steps = torch.arange(longest, device=path.device)
    return torch.where(steps < request.length[:, None], path, PAD)
