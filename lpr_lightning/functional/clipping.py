"""The clipped policy-gradient loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError

Level = Literal["token", "sequence"]

_LARGEST_LOG_RATIO = 20.0
"""Log-ratios are cut here, so that e^ratio stays finite; the clipping bounds are far inside."""


def clipped_terms(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    mask: Tensor,
    low: float = 0.2,
    high: float = 0.28,
    level: Level = "token",
) -> tuple[Tensor, Tensor]:
    """Return the loss of each token to minimise, and where clipping stopped its ratio, both [R, L].

    IB-GRPO (arXiv 2601.14686), eq. 12, with the asymmetric bounds [1 - low, 1 + high] on the importance ratio:
    -min(ratio * A, clip(ratio) * A). "sequence" takes the ratio of whole paths, as eq. 12 is written, for each of their
    tokens. Positions outside `mask` change no other one, whatever they hold, and come out as if their ratio were 1, or
    that of their path.

    Args:
        log_prob: log-probabilities under the policy being trained, [R, L].
        old_log_prob: the same under the policy that sampled, [R, L]; no gradient flows into it.
        advantage: one for each path, [R].
        mask: True on the path's own tokens, [R, L] bool.
        low: how far the ratio may fall below 1.
        high: how far it may rise above 1.
        level: "token" or "sequence".

    >>> old, new = torch.tensor([[0.25, 1.0]]).log(), torch.tensor([[0.5, 1.0]]).log()
    >>> clipped_terms(new, old, torch.tensor([2.0]), torch.tensor([[True, True]]))
    (tensor([[-2.5600, -2.0000]]), tensor([[ True, False]]))
    """
    old = torch.where(mask, old_log_prob, 0.0).detach()
    log_ratio = torch.where(mask, log_prob, 0.0) - old
    gain = advantage.unsqueeze(1)
    match level:
        case "token":
            pass
        case "sequence":
            log_ratio = log_ratio.sum(1, keepdim=True).expand_as(mask)
        case _:
            raise SettingError("level", level, "token or sequence")
    ratio = log_ratio.clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO).exp()
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - low, 1 + high) * gain)
    return -surrogate, ((ratio > 1 + high) & (gain > 0)) | ((ratio < 1 - low) & (gain < 0))
