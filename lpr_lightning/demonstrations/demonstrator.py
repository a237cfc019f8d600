"""Searching for paths with access to the simulator, over many learners at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.demonstrations.lookahead import select_rows
from lpr_lightning.errors import SettingError
from lpr_lightning.types import PAD, PathRequest, Simulator, SimulatorState


@dataclass(frozen=True)
class Demonstrations:
    """The best paths found for each learner, best first.

    `path` [B, top, L] int64, -1 after its end; `score` [B, top], the learning effect that the search saw. Where fewer
    than `top` distinct paths exist, the last ones are empty with a score of minus infinity.
    """

    path: Tensor
    score: Tensor

    def __len__(self) -> int:
        return self.path.shape[0]


@dataclass(frozen=True)
class Learners:
    """Learners about to start paths of one `length`: their states, targets [B, N], exam scores [B] and rows [B]."""

    state: SimulatorState
    targets: Tensor
    before: Tensor
    row: Tensor
    length: int

    def __len__(self) -> int:
        return self.targets.shape[0]


@dataclass(frozen=True, kw_only=True)
class Demonstrator(ABC):
    """Base class of searches: reads every history once, then searches a bounded number of learners at a time.

    Paths have exactly the wanted length of their request.

    Args:
        max_rows: States held at once; bounds memory.
    """

    max_rows: int = 4096

    name = "demonstrator"

    def __post_init__(self) -> None:
        if self.max_rows < 1:
            raise SettingError("max_rows", self.max_rows, "a whole number above 0", "4096 suits a CPU")

    @abstractmethod
    def find(self, simulator: Simulator, learners: Learners, top: int) -> tuple[Tensor, Tensor]:
        """Return up to `top` distinct paths [B, top, L] of each learner, best first, and their learning effects."""

    @abstractmethod
    def rows_per_learner(self, num_concepts: int) -> int:
        """Return how many states one learner takes while being searched for."""

    def plan(self, request: PathRequest, simulator: Simulator) -> Tensor:
        """Return the best path found for each request, [B, L] int64, -1 after its end."""
        return self.search(request, simulator).path[:, 0]

    @torch.no_grad()
    def search(self, request: PathRequest, simulator: Simulator, top: int = 1) -> Demonstrations:
        """Return the `top` best distinct paths for each request."""
        if top < 1:
            raise SettingError("top", top, "a whole number above 0")
        lengths = sorted(set(request.length.tolist()))
        path = request.length.new_full((len(request), top, max(lengths, default=0)), PAD)
        score = torch.full((len(request), top), -torch.inf, device=path.device)
        if not len(request):
            return Demonstrations(path, score)
        state = simulator.start(request)
        before, _ = simulator.exam(state, request.targets)
        chunk = max(1, self.max_rows // self.rows_per_learner(simulator.num_concepts))
        for length in lengths:
            if length < 1:
                score[request.length == length, 0] = 0.0
                continue
            for rows in (request.length == length).nonzero().squeeze(1).split(chunk):
                learners = Learners(
                    select_rows(state, rows), request.targets[rows], before[rows], request.row[rows], length
                )
                found, effect = self.find(simulator, learners, top)
                path[rows, : found.shape[1], :length] = found
                score[rows, : found.shape[1]] = effect
        return Demonstrations(path, score)
