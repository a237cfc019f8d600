"""Rival advantages against loops, where they agree with one another, and what groups without comparison do."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lpr_lightning.functional.advantage import epsilon_indicator, group_zscore
from lpr_lightning.functional.rival_advantages import dr_grpo, equal_groups, gdpo, hvo, mo_grpo

WEIGHTS = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
ALL: dict[str, Callable[[Tensor], Tensor]] = {
    "dr_grpo": dr_grpo,
    "mo_grpo": mo_grpo,
    "gdpo": gdpo,
    "hvo": hvo,
    "scalarized": lambda reward: group_zscore(reward.sum(-1)),
    "indicator": lambda reward: epsilon_indicator(reward, 1.0, "log", "none"),
}


def rewards(seed: int = 0, groups: int = 4, size: int = 5, objectives: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(groups, size, objectives, generator=generator, dtype=torch.float64)


def mean_and_std(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def slow(name: str, batch: list[list[list[float]]], eps: float, margin: float) -> list[list[float]]:
    """The formulas of the papers with loops, of groups that are not alike."""
    weights = WEIGHTS.tolist()
    found = []
    for group in batch:
        columns = [mean_and_std(list(column)) for column in zip(*group)]
        worst = [min(path[k] for other in batch for path in other) for k in range(3)]
        scores = []
        for path in group:
            match name:
                case "dr_grpo":
                    scores.append(sum(w * r for w, r in zip(weights, path)))
                case "mo_grpo":
                    scores.append(sum((r - mean) / std for r, (mean, std) in zip(path, columns)))
                case "gdpo":
                    scores.append(sum(w * (r - m) / (std + eps) for w, r, (m, std) in zip(weights, path, columns)))
                case "hvo":
                    scores.append(math.prod(r - low + margin for r, low in zip(path, worst)))
        mean, std = mean_and_std(scores)
        if name == "dr_grpo":
            scores = [score - mean for score in scores]
        if name == "hvo":
            scores = [(score - mean) / (std + eps) for score in scores]
        found.append(scores)
    if name == "gdpo":
        mean, std = mean_and_std([score for scores in found for score in scores])
        found = [[(score - mean) / (std + eps) for score in scores] for scores in found]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_they_match_loops(seed: int) -> None:
    reward = rewards(seed)
    got = {
        "dr_grpo": dr_grpo(reward, WEIGHTS),
        "mo_grpo": mo_grpo(reward),
        "gdpo": gdpo(reward, WEIGHTS, 0.01),
        "hvo": hvo(reward, 0.2, 0.01),
    }
    for name, advantage in got.items():
        expected = torch.tensor(slow(name, reward.tolist(), 0.01, 0.2), dtype=torch.float64)
        torch.testing.assert_close(advantage, expected, msg=name)


def test_hand_computed_group() -> None:
    """Paths (0, 2), (2, 0), (4, 1): means 2 and 1, deviations 2 and 1."""
    reward = torch.tensor([[[0.0, 2.0], [2.0, 0.0], [4.0, 1.0]]])
    torch.testing.assert_close(mo_grpo(reward), torch.tensor([[0.0, -1.0, 1.0]]))
    torch.testing.assert_close(gdpo(reward, eps=0.0), torch.tensor([[0.0, -1.0, 1.0]]))
    torch.testing.assert_close(dr_grpo(reward), torch.tensor([[-1.0, -1.0, 2.0]]))
    boxes = torch.tensor([[1.0 * 3, 3.0 * 1, 5.0 * 2]])
    torch.testing.assert_close(hvo(reward, margin=1.0), group_zscore(boxes))


def test_they_agree_on_one_objective_without_ties() -> None:
    """One number ranks the paths: standard scores are the same, others differ by a factor, the indicator's by kappa."""
    reward = rewards(1, objectives=1)
    plain = group_zscore(reward[..., 0], 0.0)
    torch.testing.assert_close(mo_grpo(reward), plain)
    torch.testing.assert_close(hvo(reward, eps=0.0), plain)
    torch.testing.assert_close(gdpo(reward, eps=0.0), plain / plain.std())
    torch.testing.assert_close(dr_grpo(reward), plain * reward[..., 0].std(1, keepdim=True))
    wide = epsilon_indicator(reward, 1e4, "log", "none", 0.0)
    torch.testing.assert_close(wide, plain, rtol=0, atol=1e-3)
    for name, function in ALL.items():
        assert torch.equal(function(reward).argsort(1), plain.argsort(1)), name


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("level", [-50.0, 0.1, 50.0])
def test_groups_of_equal_reward_get_zero_and_change_no_other(name: str, level: float) -> None:
    reward = rewards(2)
    equal = torch.full((2, 5, 3), level, dtype=torch.float64)
    advantage = ALL[name](torch.cat([equal[:1], reward, equal[1:]]))
    assert torch.equal(advantage[[0, -1]], torch.zeros(2, 5, dtype=torch.float64))
    torch.testing.assert_close(advantage[1:-1], ALL[name](reward))
    assert torch.equal(ALL[name](equal), torch.zeros(2, 5, dtype=torch.float64))
    assert ALL[name](reward[:0]).shape == (0, 5)


@pytest.mark.parametrize("function", [gdpo, hvo])
def test_statistics_of_the_batch_are_those_of_all_processes(function: Callable[..., Tensor]) -> None:
    reward = torch.cat([rewards(3), torch.zeros(1, 5, 3, dtype=torch.float64)])
    parts, seen = [reward[:1], reward[1:], reward[:0]], []

    def remember(rows: Tensor) -> Tensor:
        seen.append(rows)
        return rows

    for part in parts:
        function(part, gather=remember)
    together = torch.cat([function(part, gather=lambda rows: torch.cat(seen)) for part in parts])
    torch.testing.assert_close(together, function(reward))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.lists(st.integers(-8, 8), min_size=3, max_size=3), min_size=2, max_size=6),
    st.sampled_from(sorted(ALL)),
)
def test_a_dominated_path_never_gets_the_larger_advantage(group: list[list[int]], name: str) -> None:
    reward = torch.tensor([group], dtype=torch.float64) / 4
    advantage = ALL[name](reward)[0]
    above = (reward[0][:, None] >= reward[0][None]).all(-1)
    assert (advantage[:, None] >= advantage[None] - 1e-9)[above].all()


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.lists(st.integers(-8, 8), min_size=3, max_size=3), min_size=2, max_size=6),
    st.sampled_from([("exp", "none"), ("exp", "group_minmax"), ("log", "none"), ("log", "group_minmax")]),
    st.sampled_from([0.05, 0.5, 2.0]),
)
def test_nor_by_any_form_of_the_indicator(group: list[list[int]], form: tuple[str, str], kappa: float) -> None:
    reward = torch.tensor(group, dtype=torch.float64) / 4
    advantage = epsilon_indicator(reward, kappa, *form)  # type: ignore[arg-type]
    above = (reward[:, None] >= reward[None]).all(-1)
    assert (advantage[:, None] >= advantage[None] - 1e-6)[above].all()


def test_equal_groups_forgive_rounding_alone() -> None:
    reward = torch.full((3, 2, 1), 1e6)
    reward[1, 0] += 0.25  # two steps of float32
    reward[2, 0] += 8.0
    assert equal_groups(reward).tolist() == [True, True, False]
