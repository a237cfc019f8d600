"""How rewards in several objectives become one advantage per path."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.advantage import Normalize, Transform, epsilon_indicator, group_zscore


class Advantage(ABC):
    """Turns the rewards of groups of paths into advantages."""

    @abstractmethod
    def __call__(self, reward_BKM: Tensor) -> Tensor:
        """Return advantages [B, K] from rewards [B, K, M], larger is better."""


@dataclass(frozen=True)
class EpsilonIndicator(Advantage):
    """Pairwise dominance, IB-GRPO (arXiv 2601.14686), eq. 9 to 11; see `epsilon_indicator` for what differs.

    Args:
        kappa: scale of the indicator, above 0; 0.5 to 1 suit raw rewards, 0.05 to 0.2 "group_minmax". The smaller, the
            more the nearest rival alone counts.
        transform: "exp" is the paper's, "log" keeps the resolution among good paths when one is bad.
        normalize: "none" is the paper's, "group_minmax" scales each objective to [0, 1] within its group, so that
            all count alike however little they vary.
        scale: how much of each objective's unit makes up for one unit of another, one number for each (ours): the
            indicator compares differences across objectives, so their units are exchange rates. None leaves them
            as they are, as in the paper.
        eps: added to the standard deviation.

    Raises:
        SettingError: an argument outside its range.

    >>> import torch
    >>> EpsilonIndicator()(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])).sign()
    tensor([[ 1.,  1., -1.]])
    """

    kappa: float = 1.0
    transform: Transform = "log"
    normalize: Normalize = "none"
    scale: tuple[float, ...] | None = None
    eps: float = 1e-4

    def __post_init__(self) -> None:
        if self.scale is not None:
            object.__setattr__(self, "scale", tuple(self.scale))
            if not self.scale or min(self.scale) < 0:
                raise SettingError("scale", self.scale, "one number from 0 on for each objective")
        if not self.kappa > 0:
            raise SettingError("kappa", self.kappa, "a number above 0")
        if self.transform not in ("exp", "log"):
            raise SettingError("transform", self.transform, "log or exp")
        if self.normalize not in ("none", "group_minmax"):
            raise SettingError("normalize", self.normalize, "none or group_minmax")
        if not self.eps >= 0:
            raise SettingError("eps", self.eps, "a number from 0 on")

    def __call__(self, reward_BKM: Tensor) -> Tensor:
        """Return advantages, [B, K]."""
        if self.scale is not None:
            reward_BKM = reward_BKM * _one_each("scale", self.scale, reward_BKM)
        return epsilon_indicator(reward_BKM, self.kappa, self.transform, self.normalize, self.eps)


@dataclass(frozen=True)
class ScalarSum(Advantage):
    """GRPO (arXiv 2402.03300): standardise the weighted sum of the rewards within the group.

    Args:
        weights: one for each objective.
        eps: added to the standard deviation.

    Raises:
        SettingError: no weights, or not as many as there are objectives.

    >>> import torch
    >>> ScalarSum((1.0, 0.5), eps=0.0)(torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]]]))
    tensor([[-1.,  0.,  1.]])
    """

    weights: tuple[float, ...]
    eps: float = 1e-4

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(self.weights))
        if not self.weights:
            raise SettingError("weights", self.weights, "one number for each objective")
        if not self.eps >= 0:
            raise SettingError("eps", self.eps, "a number from 0 on")

    def __call__(self, reward_BKM: Tensor) -> Tensor:
        """Return advantages, [B, K]."""
        return group_zscore(reward_BKM @ _one_each("weights", self.weights, reward_BKM), self.eps)


def _one_each(name: str, values: tuple[float, ...], reward_BKM: Tensor) -> Tensor:
    if reward_BKM.shape[-1] != len(values):
        raise SettingError(name, values, f"{reward_BKM.shape[-1]} numbers, one for each objective")
    return reward_BKM.new_tensor(values)
