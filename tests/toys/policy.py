"""A policy of somebody else's: stay with a concept of the goal until an answer is right, then turn to the next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.protocols import Act, Environment
from lpr_lightning.types import PathRequest, State


@dataclass(frozen=True)
class UntilRight:
    """Closed loop: what comes next depends on the learner's answers. State: right answers so far, [B]."""

    name: str = "until_right"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        return (torch.zeros_like(request.length),)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        count = (concept >= 0).sum(1).clamp_min(1)
        wanted = concept.gather(1, (state[0] % count)[:, None])
        every = torch.arange(len(environment.simulator.actions), device=concept.device)
        on_it = (environment.simulator.actions.at(every).concept[None] == wanted[..., None]).any(2)
        return Act(on_it.long().argmax(1))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        return (state[0] + (correct >= 0.5).long(),)
