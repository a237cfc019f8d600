from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.aggregation import Aggregation, aggregated
from lpr_lightning.functional.clipping import Level, clipped_terms


def clipped_surrogate(
    log_prob: Tensor, old: Tensor, advantage: Tensor, mask: Tensor, level: Level = "token"
) -> tuple[Tensor, Tensor]:
    """The loss of eq. 12 and the share of ratios that clipping stopped: mean over tokens, or over sequences."""
    how: Aggregation = "dapo" if level == "token" else "grpo"
    loss, stopped = clipped_terms(log_prob, old, advantage, mask, level=level)
    (total, count), (held, _) = aggregated(loss, mask, how, 1), aggregated(stopped.float(), mask, how, 1)
    return total / count.clamp_min(1), held / count.clamp_min(1)


def slow_loss(log_prob: Tensor, old: Tensor, advantage: Tensor, mask: Tensor, level: Level) -> tuple[float, float]:
    terms, stopped = [], 0
    for row in range(len(advantage)):
        gain = float(advantage[row])
        logs = [
            float(log_prob[row, step] - old[row, step]) for step in range(log_prob.shape[1]) if bool(mask[row, step])
        ]
        if level == "sequence":
            logs = [sum(logs)] if logs else []
        for log_ratio in logs:
            ratio = math.exp(log_ratio)
            clipped = min(max(ratio, 0.8), 1.28)
            terms.append(min(ratio * gain, clipped * gain))
            stopped += (ratio > 1.28 and gain > 0) or (ratio < 0.8 and gain < 0)
    return -sum(terms) / len(terms), stopped / len(terms)


def example(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    log_prob = -torch.rand(9, 5, generator=generator)
    old = log_prob + 0.3 * torch.randn(9, 5, generator=generator)
    mask = torch.arange(5) < torch.randint(0, 6, (9, 1), generator=generator)
    return log_prob, old, torch.randn(9, generator=generator), mask


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("seed", range(4))
def test_matches_loops(level: Level, seed: int) -> None:
    log_prob, old, advantage, mask = example(seed)
    expected = slow_loss(log_prob, old, advantage, mask, level)
    loss, share = clipped_surrogate(log_prob, old, advantage, mask, level=level)
    assert (loss.item(), share.item()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_what_lies_outside_the_mask_changes_nothing(level: Level) -> None:
    log_prob, old, advantage, mask = example(1)
    expected = clipped_surrogate(log_prob, old, advantage, mask, level=level)
    dirty = torch.nn.functional.pad(log_prob.masked_fill(~mask, -torch.inf), (0, 3), value=-torch.inf)
    wide_old, wide_mask = torch.nn.functional.pad(old, (0, 3), value=torch.nan), torch.nn.functional.pad(mask, (0, 3))
    got = clipped_surrogate(dirty, wide_old, advantage, wide_mask, level=level)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_gradient_flows_only_where_clipping_lets_it(level: Level) -> None:
    old = torch.zeros(4, 1)
    log_prob = torch.tensor([[0.5], [0.5], [-0.5], [-0.5]], requires_grad=True)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    loss, share = clipped_surrogate(log_prob, old, advantage, torch.ones(4, 1, dtype=torch.bool), level=level)
    loss.backward()  # type: ignore[no-untyped-call]
    assert log_prob.grad is not None
    ratio = log_prob.detach().exp()
    expected = torch.tensor([[0.0], [ratio[1, 0].item()], [-ratio[2, 0].item()], [0.0]]) / 4
    torch.testing.assert_close(log_prob.grad, expected)
    assert share.item() == 0.5


def test_first_step_is_the_policy_gradient() -> None:
    log_prob = torch.tensor([[-1.0, -2.0], [-0.5, -3.0]], requires_grad=True)
    mask = torch.tensor([[True, True], [True, False]])
    loss, share = clipped_surrogate(log_prob, log_prob, torch.tensor([2.0, -1.0]), mask)
    loss.backward()  # type: ignore[no-untyped-call]
    assert log_prob.grad is not None
    torch.testing.assert_close(log_prob.grad, torch.tensor([[-2.0, -2.0], [1.0, 0.0]]) / 3)
    assert share.item() == 0.0


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_wild_ratios_and_empty_masks_stay_finite(level: Level) -> None:
    log_prob = torch.tensor([[500.0], [-500.0]], requires_grad=True)
    mask = torch.ones(2, 1, dtype=torch.bool)
    loss, _ = clipped_surrogate(log_prob, torch.zeros(2, 1), torch.tensor([-1.0, -1.0]), mask, level=level)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert log_prob.grad is not None
    assert log_prob.grad.isfinite().all()
    empty, share = clipped_surrogate(log_prob, torch.zeros(2, 1), torch.ones(2), ~mask, level=level)
    assert (empty.item(), share.item()) == (0.0, 0.0)


def test_unknown_level_is_refused() -> None:
    with pytest.raises(SettingError, match="level"):
        clipped_surrogate(*example(0), level="word")  # type: ignore[arg-type]
