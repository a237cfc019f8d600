"""What every network that writes learning paths offers to the method that trains it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from lpr_lightning.draws import Draws
from lpr_lightning.types import PathRequest


@dataclass(frozen=True)
class SampledPaths:
    """Paths [B * K, L] int64 (-1 after their end), the log-probabilities [B * K, S] of the choices that made them
    (S is L, or L + 1 where a network chooses the end too), and `token_mask` [B * K, S], True on real choices."""

    path: Tensor
    log_prob: Tensor
    token_mask: Tensor


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


class Backbone(ABC):
    """Settings of a network that writes paths."""

    @abstractmethod
    def build(self, num_concepts: int) -> PathNet:
        """Return the network for so many concepts."""
