"""How losses of tokens become the loss of a batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError

Aggregation = Literal["grpo", "dapo", "dr_grpo"]


def aggregated(loss: Tensor, mask: Tensor, how: Aggregation, longest: int) -> tuple[Tensor, Tensor]:
    """Return the sum of the tokens' losses and what it is to be divided by, both scalars.

    `grpo` (arXiv 2402.03300): the mean over a path's tokens, then over paths. `dapo` (arXiv 2503.14476), eq. 8: the
    mean over all tokens, so that long paths count more. `dr_grpo` (arXiv 2503.20783): the sum over tokens divided by
    the number of paths times a constant, the longest path that is possible, so that a token counts the same in any
    path. Paths without a token count nowhere. Divisors add up over processes.

    Args:
        loss: losses, [R, S]; what lies outside the mask changes nothing, whatever it holds.
        mask: True on real tokens, [R, S] bool.
        how: `grpo`, `dapo` or `dr_grpo`.
        longest: tokens of the longest path that is possible.

    >>> loss, mask = torch.tensor([[1.0, 3.0], [4.0, 9.0]]), torch.tensor([[True, True], [True, False]])
    >>> [float(torch.div(*aggregated(loss, mask, how, 4))) for how in ("grpo", "dapo", "dr_grpo")]
    [3.0, 2.6666667461395264, 1.0]
    """
    loss = torch.where(mask, loss, 0.0)
    tokens = mask.sum(1)
    paths = (tokens > 0).sum()
    match how:
        case "grpo":
            return (loss.sum(1) / tokens.clamp_min(1)).sum(), paths
        case "dapo":
            return loss.sum(), tokens.sum()
        case "dr_grpo":
            return loss.sum(), paths * longest
        case _:
            raise SettingError("aggregation", how, "grpo, dapo or dr_grpo")


def kl_to_reference(log_prob: Tensor, reference: Tensor) -> Tensor:
    """Return the estimate of the divergence from a reference policy at sampled tokens, [...], at least 0.

    GRPO (arXiv 2402.03300), eq. 4: ref / pi - log(ref / pi) - 1, unbiased for tokens sampled by pi.

    Args:
        log_prob: log-probabilities under the policy, any shape.
        reference: the same under the reference; no gradient flows into it.

    >>> kl_to_reference(torch.tensor([0.5, 0.5]).log(), torch.tensor([0.5, 1.0]).log())
    tensor([0.0000, 0.3069])
    """
    difference = (reference.detach() - log_prob).clamp(-20, 20)
    return difference.exp() - difference - 1
