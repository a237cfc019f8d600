"""The loss of a policy on the paths that it sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked, checked_positive
from lpr_lightning.functional.aggregation import Aggregation, aggregated, kl_to_reference
from lpr_lightning.functional.clipping import Level, clipped_terms
from lpr_lightning.ranks import mean_count


class Tokens(NamedTuple):
    """Sampled tokens, [R, S] each: log-probabilities under the policy, under the one that sampled them, under the
    reference (None where it does not count), entropies, and `mask`, True where a token counts."""

    log_prob: Tensor
    old: Tensor
    reference: Tensor | None
    entropy: Tensor
    mask: Tensor


@dataclass(frozen=True)
class PolicyLoss:
    """IB-GRPO (arXiv 2601.14686), eq. 12, with the terms and averages of GRPO, DAPO and Dr. GRPO.

    -min(ratio * A, clip(ratio) * A), plus `kl_weight` times the divergence from a frozen reference (`kl_to_reference`),
    less `entropy_weight` times the entropy, which is averaged over tokens. Averages are over the tokens or paths of
    all processes.

    Args:
        clip_low: how far a ratio may fall below 1.
        clip_high: how far it may rise above 1.
        ratio: of a `token`, or of the whole `sequence`, as eq. 12 is written.
        aggregation: how tokens are averaged (`aggregated`); None takes `dapo` with ratios of tokens, `grpo` with those
            of sequences: the mean over paths of eq. 12.
        kl_weight: of the divergence from the reference, from 0 on; the paper has none.
        entropy_weight: of the entropy bonus; the paper has none.

    Raises:
        SettingError: an argument outside its range.
    """

    clip_low: float = 0.2
    clip_high: float = 0.28
    ratio: Level = "token"
    aggregation: Aggregation | None = None
    kl_weight: float = 0.0
    entropy_weight: float = 0.0

    def __post_init__(self) -> None:
        checked_positive("clip_low", self.clip_low)
        checked_positive("clip_high", self.clip_high)
        if self.ratio not in get_args(Level):
            raise SettingError("ratio", self.ratio, "token or sequence")
        if self.aggregation is not None and self.aggregation not in get_args(Aggregation):
            raise SettingError("aggregation", self.aggregation, "grpo, dapo, dr_grpo or null")
        checked("kl_weight", self.kl_weight, 0.0)

    def __call__(self, tokens: Tokens, advantage: Tensor, longest: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its figures; every process must call it.

        Args:
            tokens: what was sampled.
            advantage: of each path, [R].
            longest: tokens of the longest path that is possible, for `dr_grpo`.
        """
        mask, how = tokens.mask, self.aggregation or ("dapo" if self.ratio == "token" else "grpo")
        terms, stopped = clipped_terms(
            tokens.log_prob, tokens.old, advantage, mask, self.clip_low, self.clip_high, self.ratio
        )
        total, count = aggregated(terms, mask, how, longest)
        loss = surrogate = total / mean_count(count)
        entropy = (tokens.entropy * mask).sum() / mean_count(mask.sum())
        clipped = (stopped & mask).sum() / mask.sum().clamp_min(1)
        figures = {"loss_policy": surrogate, "entropy": entropy, "clip_fraction": clipped}
        if tokens.reference is not None:
            apart = kl_to_reference(tokens.log_prob, torch.where(mask, tokens.reference, tokens.log_prob.detach()))
            total, count = aggregated(apart, mask, how, longest)
            figures["kl"] = total / mean_count(count)
            loss = loss + self.kl_weight * figures["kl"]
        loss = loss - self.entropy_weight * entropy
        return loss, {"loss": loss, **figures}
