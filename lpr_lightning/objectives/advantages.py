"""How rewards in several objectives become one advantage per path."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked, checked_positive
from lpr_lightning.functional.advantage import Normalize, Transform, epsilon_indicator, group_zscore


class Advantage(ABC):
    """Turns the rewards of groups of paths into advantages."""

    @abstractmethod
    def __call__(self, rewards: Mapping[str, Tensor]) -> Tensor:
        """Return advantages [B, K] from the rewards [B, K] in each objective, larger is better."""

    @abstractmethod
    def check(self, names: Collection[str]) -> None:
        """Raise a SettingError where the settings do not fit objectives of these names; a policy calls it first."""


@dataclass(frozen=True)
class EpsilonIndicator(Advantage):
    """Pairwise dominance, IB-GRPO (arXiv 2601.14686), eq. 9 to 11; see `epsilon_indicator` for what differs.

    Args:
        kappa: scale of the indicator, above 0; 0.5 to 1 suit raw rewards, 0.05 to 0.2 "group_minmax". The smaller, the
            more the nearest rival alone counts.
        transform: "exp" is the paper's, "log" keeps the resolution among good paths when one is bad.
        normalize: "none" is the paper's, "group_minmax" scales each objective to [0, 1] within its group, so that
            all count alike however little they vary.
        scale: how much of each objective's unit makes up for one unit of another, by name (ours): the indicator
            compares differences across objectives, so their units are exchange rates. Objectives that are not named
            have scale 1, as in the paper; 0 leaves an objective out.
        eps: added to the standard deviation.

    Raises:
        SettingError: an argument outside its range, a scale beside "group_minmax", which would undo it, or (`check`)
            a scale that names no objective.

    >>> rewards = {"zpd": torch.tensor([[1.0, 0.0, 0.0]]), "length": torch.tensor([[0.0, 1.0, 0.0]])}
    >>> EpsilonIndicator()(rewards).sign()
    tensor([[ 1.,  1., -1.]])
    >>> EpsilonIndicator(scale={"length": 0.0})(rewards).sign()
    tensor([[ 1., -1., -1.]])
    >>> EpsilonIndicator(scale={"lenght": 0.1}).check(rewards)
    Traceback (most recent call last):
        ...
    lpr_lightning.errors.SettingError: scale='lenght' cannot be used: expected one of zpd, length. Closest: length.
    """

    kappa: float = 1.0
    transform: Transform = "log"
    normalize: Normalize = "none"
    scale: dict[str, float] | None = field(default=None, hash=False)
    eps: float = 1e-4

    def __post_init__(self) -> None:
        if self.scale is not None and not all(value >= 0 for value in self.scale.values()):
            raise SettingError("scale", self.scale, "numbers from 0 on, by the names of objectives")
        if self.scale and self.normalize == "group_minmax":
            advice = "use normalize: none, or leave out scale"
            raise SettingError("scale", self.scale, "null where group_minmax scales every objective to [0, 1]", advice)
        checked_positive("kappa", self.kappa)
        if self.transform not in ("exp", "log"):
            raise SettingError("transform", self.transform, "log or exp")
        if self.normalize not in ("none", "group_minmax"):
            raise SettingError("normalize", self.normalize, "none or group_minmax")
        checked("eps", self.eps, 0.0)

    def __call__(self, rewards: Mapping[str, Tensor]) -> Tensor:
        """Return advantages, [B, K]."""
        self.check(rewards)
        scale = self.scale or {}
        scaled = [reward * scale.get(name, 1.0) for name, reward in rewards.items() if scale.get(name, 1.0) > 0]
        return epsilon_indicator(torch.stack(scaled, -1), self.kappa, self.transform, self.normalize, self.eps)

    def check(self, names: Collection[str]) -> None:
        """Refuse scales that name no objective, or that leave out all."""
        scale = self.scale or {}
        check_known("scale", scale, names)
        if not any(scale.get(name, 1.0) > 0 for name in names):
            raise SettingError("scale", scale, "a number above 0 for at least one objective")


@dataclass(frozen=True)
class ScalarSum(Advantage):
    """GRPO (arXiv 2402.03300): standardise the weighted sum of the rewards within the group.

    Args:
        weights: of each objective, by name; 0 leaves one out.
        eps: added to the standard deviation.

    Raises:
        SettingError: an argument outside its range, or (`check`) a weight that names no objective, or an objective
            without a weight.

    >>> rewards = {"zpd": torch.tensor([[0.0, 1.0, 1.0]]), "length": torch.tensor([[0.0, 0.0, 2.0]])}
    >>> ScalarSum({"zpd": 1.0, "length": 0.5}, eps=0.0)(rewards)
    tensor([[-1.,  0.,  1.]])
    """

    weights: dict[str, float] = field(hash=False)
    eps: float = 1e-4

    def __post_init__(self) -> None:
        if not self.weights:
            raise SettingError("weights", self.weights, "one number for each objective, by name")
        checked("eps", self.eps, 0.0)

    def __call__(self, rewards: Mapping[str, Tensor]) -> Tensor:
        """Return advantages, [B, K]."""
        self.check(rewards)
        weighted = [reward * self.weights[name] for name, reward in rewards.items()]
        return group_zscore(torch.stack(weighted, -1).sum(-1), self.eps)

    def check(self, names: Collection[str]) -> None:
        """Refuse weights that name no objective, and objectives without a weight."""
        check_known("weights", self.weights, names)
        missing = [name for name in names if name not in self.weights]
        if missing:
            advice = f"add {', '.join(missing)}; a weight of 0 leaves an objective out"
            raise SettingError("weights", self.weights, "one number for each objective", advice)


def check_known(setting: str, given: Collection[str], names: Collection[str]) -> None:
    """Refuse names that are none of the objectives', and tell the closest one."""
    for name in given:
        if name not in names:
            closest = get_close_matches(name, list(names))
            advice = f"Closest: {', '.join(closest)}" if closest else ""
            raise SettingError(setting, name, f"one of {', '.join(names)}", advice)
