"""A goal of somebody else's: the target that the learner has practised least."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.goals import ConceptGoal
from lpr_lightning.protocols import Learner
from lpr_lightning.types import PAD, PathRequest, State


class LeastPractisedTarget(ConceptGoal):
    """One concept of the request's targets."""

    def choose(self, learner: Learner, state: State, request: PathRequest) -> Tensor:
        concept = request.history.concept.flatten(1)
        count = torch.zeros(request.targets.shape, device=concept.device)
        count = count.scatter_add(1, concept.clamp_min(0), (concept >= 0).float())
        least = count.masked_fill(~request.targets, torch.inf).argmin(1)
        return torch.where(request.targets.any(1), least, PAD)[:, None]
