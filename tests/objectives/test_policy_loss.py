"""The loss of the policy, term by term."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.aggregation import Aggregation, aggregated, kl_to_reference
from lpr_lightning.functional.clipping import clipped_terms
from lpr_lightning.objectives import PolicyLoss
from lpr_lightning.objectives.policy_loss import Tokens


def sampled() -> tuple[Tokens, Tensor]:
    generator = torch.Generator().manual_seed(0)
    log_prob, mask = -torch.rand(6, 3, generator=generator), torch.ones(6, 3, dtype=torch.bool)
    mask[::2, 2] = False
    old, reference = (log_prob + 0.3 * torch.randn(6, 3, generator=generator) for _ in range(2))
    return Tokens(log_prob, old, reference, torch.rand(6, 3, generator=generator), mask), torch.randn(6)


@pytest.mark.parametrize("how", ["grpo", "dapo", "dr_grpo"])
def test_it_is_the_sum_of_its_terms(how: Aggregation) -> None:
    tokens, advantage = sampled()
    assert tokens.reference is not None
    loss, figures = PolicyLoss(aggregation=how, kl_weight=0.5, entropy_weight=0.1)(tokens, advantage, 4)
    terms, _ = clipped_terms(tokens.log_prob, tokens.old, advantage, tokens.mask)
    policy = torch.div(*aggregated(terms, tokens.mask, how, 4))
    kl = torch.div(*aggregated(kl_to_reference(tokens.log_prob, tokens.reference), tokens.mask, how, 4))
    entropy = tokens.entropy[tokens.mask].mean()
    torch.testing.assert_close(loss, policy + 0.5 * kl - 0.1 * entropy)
    torch.testing.assert_close((figures["kl"], figures["loss"], figures["entropy"]), (kl, loss, entropy))


def test_by_default_tokens_are_averaged_as_dapo_and_sequences_as_the_paper() -> None:
    tokens, advantage = sampled()
    for ratio, how in (("token", "dapo"), ("sequence", "grpo")):
        default, named = PolicyLoss(ratio=ratio), PolicyLoss(ratio=ratio, aggregation=how)  # type: ignore[arg-type]
        assert torch.equal(default(tokens, advantage, 3)[0], named(tokens, advantage, 3)[0])


def test_a_reference_that_is_the_policy_changes_nothing() -> None:
    tokens, advantage = sampled()
    own = tokens._replace(reference=tokens.log_prob)
    with_it, figures = PolicyLoss(kl_weight=1.0)(own, advantage, 3)
    assert torch.equal(with_it, PolicyLoss()(tokens._replace(reference=None), advantage, 3)[0])
    assert float(figures["kl"]) == 0.0


def test_what_lies_outside_the_mask_changes_nothing() -> None:
    tokens, advantage = sampled()
    outside, reference = ~tokens.mask, tokens.reference
    assert reference is not None
    log_prob, old, entropy = (one.masked_fill(outside, 7.0) for one in (tokens.log_prob, tokens.old, tokens.entropy))
    dirty = Tokens(log_prob, old, reference.masked_fill(outside, 7.0), entropy, tokens.mask)
    loss = PolicyLoss(kl_weight=0.5, entropy_weight=0.1)
    torch.testing.assert_close(loss(dirty, advantage, 3)[0], loss(tokens, advantage, 3)[0])
    nothing = tokens._replace(mask=torch.zeros_like(tokens.mask))
    assert float(loss(nothing, advantage, 3)[0]) == 0.0


@pytest.mark.parametrize(
    ("setting", "value"),
    [("clip_low", 0.0), ("clip_high", -1.0), ("ratio", "word"), ("aggregation", "mean"), ("kl_weight", -1.0)],
)
def test_wrong_settings_are_refused(setting: str, value: object) -> None:
    with pytest.raises(SettingError, match=setting):
        PolicyLoss(**{setting: value})  # type: ignore[arg-type]
