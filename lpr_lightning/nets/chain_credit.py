"""Credit on the way for what a goal's concepts build on: the potential of shaped rewards."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from lpr_lightning.errors import SettingError, checked, checked_positive
from lpr_lightning.functional.prerequisites import ancestors, direct_prerequisites
from lpr_lightning.protocols import LearnerData


class ChainPotential(nn.Module):
    """The credit part of `ChainValue`, with gradients: what prerequisites are worth while there are steps left.

    Phi = mean over the goal's concepts t of credit (1 - m_t) sqrt(prod over ancestors a of sigmoid(steepness (m_a -
    level))). A reward shaped by it, r + gamma Phi(s') - Phi(s) with Phi = 0 at the end, has the same best policy (Ng et
    al. 1999), and tells at once what an unshaped one tells several steps later. Prerequisites come by `connect`, and
    stay in checkpoints.

    >>> potential = ChainPotential(2, ChainCredit())
    >>> potential.ancestors[1, 0] = True
    >>> potential(torch.tensor([[0.5, 0.0]]), torch.tensor([[False, True]]))  # 0.5 sqrt(0.5)
    tensor([0.3536])
    """

    ancestors: Tensor

    def __init__(self, num_concepts: int, settings: ChainCredit) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("ancestors", torch.zeros(num_concepts, num_concepts, dtype=torch.bool))

    def connect(self, data: LearnerData) -> None:
        """Take the prerequisites from the data; where it has none, no concept has any."""
        edges = data.prerequisites
        if edges is not None:
            self.ancestors.copy_(ancestors(direct_prerequisites(edges, len(self.ancestors))))

    def forward(self, mastery: Tensor, goal: Tensor) -> Tensor:
        """Return the potential [...] of mastery [..., N] for goals [..., N] bool."""
        settings = self.settings
        held = logsigmoid(settings.steepness * (mastery - settings.level))
        chain = (0.5 * held @ self.ancestors.to(held).T).exp()
        counted = goal.to(mastery)
        total: Tensor = (settings.credit * (1 - mastery) * chain * counted).sum(-1)
        return total / counted.sum(-1).clamp_min(1)


@dataclass(frozen=True)
class ChainCredit:
    """Settings of a `ChainPotential`.

    Args:
        credit: credit of a concept whose ancestors all hold, in [0, 1].
        steepness: of the step from not holding to holding.
        level: mastery at which an ancestor half holds.

    Raises:
        SettingError: a number is out of range.
    """

    credit: float = 0.5
    steepness: float = 6.0
    level: float = 0.5

    def __post_init__(self) -> None:
        checked("credit", self.credit, 0.0, 1.0)
        checked_positive("steepness", self.steepness)
        if not 0 <= self.level <= 1:
            raise SettingError("level", self.level, "a mastery from 0 to 1")

    def build(self, num_concepts: int) -> ChainPotential:
        """Return the potential for so many concepts."""
        return ChainPotential(num_concepts, self)
