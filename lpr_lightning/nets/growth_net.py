"""The base of networks that tell what answers say about a learner from what practice does."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_gain import prerequisite_gate
from lpr_lightning.nets.tracer_net import TracerNet
from lpr_lightning.types import PAD, Exercise, InteractionBatch, State


class GrowthNet(TracerNet):
    """A `TracerNet` whose `observe` moves evidence and growth, and whose `practise` moves growth only.

    The expected residual of an answer under the model's own prediction is 0: while planning nothing is learned about
    the learner, and the evidence must not move.
    """

    gate: PrerequisiteGate

    @abstractmethod
    def start_from(self, rate: Tensor) -> None:
        """Take the share of right answers on each concept, [N] in (0, 1), before training."""

    @abstractmethod
    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a step of an episode: only what practice does."""

    @abstractmethod
    def penalty(self) -> Tensor:
        """Return what the weights are punished for, above all differences between the concepts' learning rates."""


class PrerequisiteGate(nn.Module):
    """Lets growth on a concept through as far as its weakest prerequisite holds (`functional.prerequisite_gate`).

    Its two weights are trained where there are prerequisites. `needed` [N, K]: the prerequisites of each concept, -1
    where unused; K is 0 until `attach`, at least 1 from then on.

    Args:
        num_concepts: N.

    >>> gate = PrerequisiteGate(3)
    >>> gate.attach(torch.tensor([[0, 2], [1, 2]]))
    >>> gate.needed.tolist(), gate.active
    ([[-1, -1], [-1, -1], [0, 1]], True)
    """

    needed: Tensor

    def __init__(self, num_concepts: int) -> None:
        super().__init__()
        self.register_buffer("needed", torch.full((num_concepts, 0), PAD))
        self.weight = nn.Parameter(torch.ones(2), requires_grad=False)
        self.active = False

    @property
    def known(self) -> bool:
        """Whether it has been said which prerequisites there are."""
        return self.needed.shape[1] > 0

    def attach(self, edges: Tensor | None) -> None:
        """Take edges (before, after), [E, 2] int64; None where there are none.

        Raises:
            SettingError: an edge names a concept that does not exist.
        """
        count = len(self.needed)
        edges = torch.empty(0, 2, dtype=torch.int64) if edges is None else edges.cpu()
        if len(edges) and not 0 <= int(edges.min()) <= int(edges.max()) < count:
            raise SettingError("prerequisites", edges.tolist(), f"concepts from 0 to {count - 1}")
        before, after = torch.unique(edges, dim=0).unbind(1) if len(edges) else edges.unbind(1)
        order = after.argsort(stable=True)
        before, after = before[order], after[order]
        degree = torch.bincount(after, minlength=count)
        place = torch.arange(len(after)) - (degree.cumsum(0) - degree)[after]
        needed = torch.full((count, max(int(degree.max()), 1)), PAD)
        needed[after, place] = before
        self.needed = needed.to(self.needed.device)
        self.active = bool(len(edges))
        self.weight.requires_grad_(self.active)

    def of(self, concept: Tensor) -> Tensor:
        """Return the prerequisites [..., K] of concepts [...], -1 where unused or the concept is -1; K = 0 if none."""
        if not self.active:
            return concept.new_empty(*concept.shape, 0)
        return self.needed[concept.clamp_min(0)].masked_fill(concept[..., None] < 0, PAD)

    def forward(self, level: Tensor, needed: Tensor) -> Tensor:
        """Return how far the prerequisites `needed` [..., K], of `level` [..., K], hold, [...]."""
        if not needed.shape[-1]:
            return level.new_ones(level.shape[:-1])
        return prerequisite_gate(level, needed, self.weight)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        """Make room for the prerequisites that are loaded."""
        loaded = state_dict.get(prefix + "needed")
        if loaded is not None:
            self.needed = self.needed.new_empty(loaded.shape)
            self.active = bool((loaded >= 0).any())
        super()._load_from_state_dict(state_dict, prefix, *others)


def known_concepts(batch: InteractionBatch) -> Tensor:
    """Return the concepts [B, T, C] of histories, -1 under the mask."""
    return batch.concept.masked_fill(~batch.mask[..., None], PAD)


def mean_of_known(value: Tensor, concept: Tensor) -> Tensor:
    """Return the mean of `value` [..., C] over the real ones among `concept` [..., C]; 0 without any.

    >>> mean_of_known(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0, 1], [0, -1]]))
    tensor([1.5000, 3.0000])
    """
    known = (concept >= 0).to(value)
    if concept.shape[-1] == 1:
        return (value * known).squeeze(-1)
    return (value * known).sum(-1) / known.sum(-1).clamp_min(1)
