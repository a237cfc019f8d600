"""Group-relative advantages: how much better each path is than its siblings."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked_positive

Transform = Literal["exp", "log"]
Normalize = Literal["none", "group_minmax"]

_SAME = 1e-6
"""An objective whose range in a group is below this share of its size (or of 1) counts as constant."""


def group_zscore(score: Tensor, eps: float | Tensor = 1e-4) -> Tensor:
    """Standardise scores within their group, [..., K].

    IB-GRPO (arXiv 2601.14686), eq. 11, and GRPO: (R - mean) / (std + eps) with the sample's standard deviation
    (divisor K - 1). Groups of one and groups of equal scores give exactly 0.

    Args:
        score: scores, [..., K], all finite.
        eps: added to the standard deviation; a number or a tensor [..., 1].

    >>> group_zscore(torch.tensor([[1.0, 2.0, 3.0], [0.1, 0.1, 0.1]]), eps=0.0)
    tensor([[-1.,  0.,  1.],
            [ 0.,  0.,  0.]])
    """
    if score.shape[-1] < 2:
        return torch.zeros_like(score)
    span = score.amax(-1, keepdim=True) - score.amin(-1, keepdim=True)
    rounding = 4 * torch.finfo(score.dtype).eps * score.abs().amax(-1, keepdim=True)
    varied = span > rounding
    deviation = score - score.mean(-1, keepdim=True)
    scale = (deviation.square().sum(-1, keepdim=True) / (score.shape[-1] - 1)).sqrt() + eps
    return torch.where(varied, deviation / torch.where(varied, scale, 1.0), 0.0)


def additive_epsilon(reward: Tensor) -> Tensor:
    """Return I(r_j, r_i) = max over m of r_i,m - r_j,m, [..., K (j), K (i)].

    IB-GRPO (arXiv 2601.14686), eq. 9: how much r_j must rise in every objective to dominate r_i weakly; negative where
    r_j is better than r_i in all of them.

    Args:
        reward: rewards, [..., K, M], larger is better.

    >>> additive_epsilon(torch.tensor([[1.0, 0.0], [0.0, 0.5]]))
    tensor([[0.0000, 0.5000],
            [1.0000, 0.0000]])
    """
    return (reward.unsqueeze(-3) - reward.unsqueeze(-2)).amax(-1)


def epsilon_indicator(
    reward: Tensor,
    kappa: float = 0.1,
    transform: Transform = "log",
    normalize: Normalize = "group_minmax",
    eps: float = 1e-4,
) -> Tensor:
    """Return the advantage of each path from pairwise dominance in its group, [..., K].

    IB-GRPO (arXiv 2601.14686), eq. 9 to 11. `transform="exp", normalize="none"` is the paper to the letter:
    R_i = -sum over j != i of exp(-I(r_j, r_i) / kappa), standardised within the group.

    Differs from the paper:
        1. `transform="log"` standardises -kappa * log(-R_i), which keeps the order of the paths but not the explosion
           of one dominated path, after which all others look alike.
        2. `normalize="group_minmax"` first maps each objective to [0, 1] within the group (the adaptive scaling of
           IBEA); objectives that are constant in the group are left out of eq. 9, where a tie would hide dominance.
        3. Overflow: eq. 11 is unchanged when R and eps are scaled alike, so R and eps are both divided by the largest
           exponential above 1. Results stay finite for any finite reward and are equal to exact arithmetic, except
           that terms smaller than 1e-38 of the largest one are lost.
        4. Groups of one, and groups whose paths fare alike, give exactly 0.

    Args:
        reward: rewards, [..., K, M], larger is better, all finite.
        kappa: scale of the indicator, above 0; on the rewards' scale, or on [0, 1] under group_minmax.
        transform: "exp" as in the paper or "log".
        normalize: "none" as in the paper or "group_minmax".
        eps: added to the standard deviation.

    Raises:
        SettingError: `kappa` is not above 0, or an unknown choice.

    >>> reward = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> epsilon_indicator(reward, kappa=1.0, transform="exp", normalize="none").round(decimals=3)
    tensor([ 0.5770,  0.5770, -1.1550])
    """
    checked_positive("kappa", kappa)
    reward = reward if reward.dtype in (torch.float32, torch.float64) else reward.float()
    group_size = reward.shape[-2]
    if group_size < 2 or reward.shape[-1] == 0:
        return reward.new_zeros(reward.shape[:-1])
    low, high = reward.amin(-2, keepdim=True), reward.amax(-2, keepdim=True)
    constant = (high - low) <= _SAME * torch.maximum(low.abs(), high.abs()).clamp_min(1.0)
    match normalize:
        case "none":
            indicator = additive_epsilon(reward)
        case "group_minmax":
            scaled = (reward - low) / torch.where(constant, 1.0, high - low)
            gap = scaled.unsqueeze(-3) - scaled.unsqueeze(-2)
            indicator = gap.masked_fill(constant.unsqueeze(-2), -torch.inf).amax(-1)
            indicator = indicator.masked_fill(constant.all(-1, keepdim=True), 0.0)
        case _:
            raise SettingError("normalize", normalize, "none or group_minmax")
    itself = torch.eye(group_size, dtype=torch.bool, device=reward.device)
    exponent = (-indicator / kappa).masked_fill(itself, -torch.inf)
    match transform:
        case "log":
            return group_zscore(-kappa * exponent.logsumexp(-2), eps)
        case "exp":
            shift = exponent.amax((-2, -1), keepdim=True).clamp_min(0.0)
            fitness = -(exponent - shift).exp().sum(-2)
            return group_zscore(fitness, eps * (-shift.squeeze(-1)).exp())
        case _:
            raise SettingError("transform", transform, "log or exp")
