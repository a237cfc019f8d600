"""What every network that writes learning paths offers to the method that trains it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lpr_lightning.draws import Draws
from lpr_lightning.types import PAD, PathRequest


@dataclass(frozen=True)
class SampledPaths:
    """Paths, and the choices that made them.

    `path` [B * K, L] int64, -1 after its end; the log-probabilities `log_prob` [B * K, S] of the choices (S is L, or
    L + 1 where a network chooses the end too, or the tokens of a text); `token_mask` [B * K, S], True on real choices.
    Where choices are not concepts: `token` [B * K, S] int64, what was chosen, `step` [B * K, S] int64, the steps that
    the path had before each choice, and `dropped` [B * K] int64, the names that are no concept's and left the path.
    """

    path: Tensor
    log_prob: Tensor
    token_mask: Tensor
    token: Tensor | None = None
    step: Tensor | None = None
    dropped: Tensor | None = None

    def before(self, steps: Tensor, width: int) -> Tensor:
        """Return True on the choices that were made before the path had so many steps [B * K], [B * K, width] bool."""
        place = torch.arange(width, device=steps.device) if self.step is None else self.step[:, :width]
        return place < steps[:, None]

    def joined(self, other: SampledPaths) -> SampledPaths:
        """Return the rows of both, one after the other, the shorter ones padded."""
        parts = {name: (part, vars(other)[name]) for name, part in vars(self).items() if part is not None}
        return replace(self, **{name: torch.cat(_as_long(*pair, name == "path")) for name, pair in parts.items()})

    def select(self, index: Tensor) -> SampledPaths:
        """Return the rows at `index`."""
        return replace(self, **{name: part[index] for name, part in vars(self).items() if part is not None})


def _as_long(one: Tensor, two: Tensor, paths: bool) -> list[Tensor]:
    """Return both padded to the length of the longer one."""
    if one.dim() == 1:
        return [one, two]
    longest = max(one.shape[1], two.shape[1])
    return [nn.functional.pad(part, (0, longest - part.shape[1]), value=PAD if paths else 0) for part in (one, two)]


class PathNet(nn.Module, ABC):
    """Base class of networks that write K paths for each request, a concept a step.

    `reads_mastery` says whether a network needs `mastery` [B, N], the learners' estimated mastery after their
    histories; others pass over it.
    """

    reads_mastery: bool = False

    @property
    @abstractmethod
    def horizon(self) -> int | None:
        """Most concepts of a path whose end the network chooses; None where paths have the wanted length."""

    def most_choices(self, request: PathRequest) -> int:
        """Return how many choices the longest path that is possible has: its concepts, and the end where it is one."""
        if self.horizon is not None:
            return self.horizon + 1
        return int(request.length.max()) if len(request) else 0

    @abstractmethod
    def sample(
        self,
        request: PathRequest,
        group_size: int = 1,
        temperature: float = 1.0,
        draws: Draws | None = None,
        mastery: Tensor | None = None,
        steps: int | None = None,
    ) -> SampledPaths:
        """Return K paths for each request, sampled by the requests' `draws`, or the likeliest without them.

        Log-probabilities are those at the same temperature, without gradients. `steps` cuts the paths: no more than so
        many steps are written.
        """

    @abstractmethod
    def log_prob(
        self,
        request: PathRequest,
        path: Tensor,
        group_size: int,
        temperature: float = 1.0,
        mastery: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-probabilities [B * K, S] of each path's choices, their mask, and the entropies, with gradients."""

    def log_prob_of(
        self,
        request: PathRequest,
        sampled: SampledPaths,
        group_size: int,
        temperature: float = 1.0,
        mastery: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the same of the choices that were sampled, whatever path they made."""
        return self.log_prob(request, sampled.path, group_size, temperature, mastery)


class Backbone(ABC):
    """Settings of a network that writes paths."""

    @abstractmethod
    def build(self, num_concepts: int) -> PathNet:
        """Return the network for so many concepts."""
