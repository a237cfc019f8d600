"""Advantages that the indicator of IB-GRPO is held against."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked, checked_positive
from lpr_lightning.functional.rival_advantages import dr_grpo, gdpo, hvo, mo_grpo
from lpr_lightning.objectives.advantages import Advantage, check_known
from lpr_lightning.ranks import gathered


@dataclass(frozen=True)
class MOGRPO(Advantage):
    """MO-GRPO (arXiv 2509.22047): the sum of the objectives' standard scores within the group; see `mo_grpo`.

    >>> MOGRPO()({"zpd": torch.tensor([[0.0, 1.0, 2.0]]), "length": torch.tensor([[0.0, 10.0, 20.0]])})
    tensor([[-2.,  0.,  2.]])
    """

    def __call__(self, rewards: Mapping[str, Tensor]) -> Tensor:
        """Return advantages, [B, K]."""
        return mo_grpo(_stacked(rewards))

    def check(self, names: Collection[str]) -> None:
        """Take objectives of any names."""


@dataclass(frozen=True)
class HVO(Advantage):
    """HVO (arXiv 2510.19325): the box of each path above the worst of the batch of all processes; see `hvo`.

    Args:
        margin: how far the reference lies below the worst, above 0.
        eps: added to the standard deviation.

    Raises:
        SettingError: an argument outside its range.

    >>> HVO()({"zpd": torch.tensor([[0.0, 1.0]]), "length": torch.tensor([[1.0, 1.0]])}).sign()
    tensor([[-1.,  1.]])
    """

    margin: float = 0.1
    eps: float = 1e-4

    def __post_init__(self) -> None:
        checked_positive("margin", self.margin)
        checked("eps", self.eps, 0.0)

    def __call__(self, rewards: Mapping[str, Tensor]) -> Tensor:
        """Return advantages, [B, K]."""
        return hvo(_stacked(rewards), self.margin, self.eps, _of_all_ranks)

    def check(self, names: Collection[str]) -> None:
        """Take objectives of any names."""


@dataclass(frozen=True)
class _Weighted(Advantage):
    """An advantage with a weight for each objective, by name; 1 where it is not named.

    Raises:
        SettingError: no objective keeps a weight, or (`check`) a weight names no objective.
    """

    weights: dict[str, float] | None = field(default=None, hash=False)

    def check(self, names: Collection[str]) -> None:
        """Refuse weights that name no objective, or that leave out all."""
        weights = self.weights or {}
        check_known("weights", weights, names)
        if not any(weights.get(name, 1.0) for name in names):
            raise SettingError("weights", weights, "a number other than 0 for at least one objective")

    def weight_of(self, rewards: Mapping[str, Tensor]) -> Tensor:
        """Return the weights in the order of the objectives, [M]."""
        self.check(rewards)
        return torch.tensor([(self.weights or {}).get(name, 1.0) for name in rewards])


@dataclass(frozen=True)
class GDPO(_Weighted):
    """GDPO (arXiv 2601.05242): standard scores within the group, summed and standardised over the batch of all
    processes; see `gdpo`.

    Args:
        weights: of the objectives, by name; 1 where it is not named, 0 leaves one out.
        eps: added to the standard deviations.

    Raises:
        SettingError: an argument outside its range, or (`check`) a weight that names no objective.

    >>> GDPO(eps=0.0)({"zpd": torch.tensor([[0.0, 1.0], [5.0, 5.0]])})
    tensor([[-0.7071,  0.7071],
            [ 0.0000,  0.0000]])
    """

    eps: float = 1e-4

    def __post_init__(self) -> None:
        checked("eps", self.eps, 0.0)

    def __call__(self, rewards: Mapping[str, Tensor]) -> Tensor:
        """Return advantages, [B, K]."""
        return gdpo(_stacked(rewards), self.weight_of(rewards), self.eps, _of_all_ranks)


@dataclass(frozen=True)
class DrGRPO(_Weighted):
    """Dr. GRPO (arXiv 2503.20783): the weighted sum less its mean in the group, in the rewards' own units.

    Meant for `aggregation: dr_grpo`, which leaves out the length of paths too.

    Args:
        weights: of the objectives, by name; 1 where it is not named, 0 leaves one out.

    Raises:
        SettingError: (`check`) a weight that names no objective.

    >>> DrGRPO({"length": 0.5})({"zpd": torch.tensor([[0.0, 1.0]]), "length": torch.tensor([[0.0, 2.0]])})
    tensor([[-1.,  1.]])
    """

    def __call__(self, rewards: Mapping[str, Tensor]) -> Tensor:
        """Return advantages, [B, K]."""
        return dr_grpo(_stacked(rewards), self.weight_of(rewards))


def _stacked(rewards: Mapping[str, Tensor]) -> Tensor:
    """Return the rewards side by side, [B, K, M], in float32 at least."""
    stacked = torch.stack(list(rewards.values()), -1)
    return stacked if stacked.dtype == torch.float64 else stacked.float()


def _of_all_ranks(rows: Tensor) -> Tensor:
    return gathered(rows, rows.device).to(rows.device)
