"""Figures of paths against NumPy, over batches and processes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rollouts import cut_paths, made_rollout

from lpr_lightning.errors import SettingError
from lpr_lightning.metrics import RolloutMetrics
from lpr_lightning.types import Rollout


def random_rollout(seed: int, rows: int = 60) -> Rollout:
    generator = torch.Generator().manual_seed(seed)
    action = torch.randint(0, 5, (rows, 6), generator=generator)
    return made_rollout(
        cut_paths(action, torch.randint(0, 7, (rows,), generator=generator)),
        score_before=torch.randint(0, 5, (rows,), generator=generator).float(),
        score_after=torch.randint(0, 5, (rows,), generator=generator).float(),
        score_max=torch.full((rows,), 4.0),
        wanted_length=torch.full((rows,), 5),
        stopped=torch.rand(rows, generator=generator) < 0.3,
    )


def computed(*rollouts: Rollout) -> dict[str, float]:
    metric = RolloutMetrics()
    for rollout in rollouts:
        metric.update(rollout)
    return {key: float(value) for key, value in metric.compute().items()}


def test_matches_numpy() -> None:
    rollout = random_rollout(0)
    got = computed(rollout)
    before, after, maximum = (
        value.double().numpy() for value in (rollout.score_before, rollout.score_after, rollout.score_max)
    )
    learnable = maximum > before
    effect = ((after - before)[learnable]) / ((maximum - before)[learnable])
    paths = [[action for action in row if action >= 0] for row in rollout.action.tolist()]
    stopped = rollout.stopped.tolist()
    off = [max(len(path) - 5, 0) if stop else abs(len(path) - 5) for path, stop in zip(paths, stopped, strict=True)]
    expected = {
        "learning_effect": effect.mean(),
        "learning_effect_median": np.median(effect),
        "learning_effect_clipped": effect.clip(-1, 1).mean(),
        "learning_effect_ratio": (after - before)[learnable].sum() / (maximum - before)[learnable].sum(),
        "length_score": np.mean([1 - steps / 5 for steps in off]),
        "path_diversity": np.mean([len(set(path)) / len(path) if path else 0 for path in paths]),
        "path_length": np.mean([len(path) for path in paths]),
        "sessions": learnable.sum(),
        "on_target": 1.0,
        "first_step_share": max(np.bincount([path[0] for path in paths if path])) / sum(map(bool, paths)),
        "learning_effect_soft": 5 / 4,  # `made_rollout`: five concepts from mastery 0 to 1, here of a best score of 4
        "learning_effect_hard": 5 / 4,
    }
    for key, value in expected.items():
        assert got[key] == pytest.approx(float(value), abs=1e-5), key
    assert got["learning_effect_low"] < got["learning_effect"] < got["learning_effect_high"]
    half = 1.96 * effect.std(ddof=1) / len(effect) ** 0.5
    assert got["learning_effect_low"] == pytest.approx(effect.mean() - half, rel=0.15)
    assert set(got) == {*expected, "learning_effect_low", "learning_effect_high"}


def test_batches_make_no_difference() -> None:
    rollout = random_rollout(1)
    assert computed(rollout) == computed(rollout.select(torch.arange(25)), rollout.select(torch.arange(25, 60)))


def test_processes_are_merged() -> None:
    rollout = random_rollout(2)
    ranks = [RolloutMetrics(), RolloutMetrics()]
    ranks[0].update(rollout.select(torch.arange(30, 60)))
    ranks[1].update(rollout.select(torch.arange(30)))
    ranks[0].merge_state(ranks[1])
    assert {key: float(value) for key, value in ranks[0].compute().items()} == computed(rollout)


def test_interval_is_paired_between_policies() -> None:
    rollout = random_rollout(3)
    better = replace(
        rollout, score_before=torch.zeros(60), score_max=torch.full((60,), 4.0), score_after=rollout.score_before + 1
    )
    plain = replace(better, score_after=rollout.score_before)
    got, base = computed(better), computed(plain)
    for key in ("learning_effect", "learning_effect_low", "learning_effect_high"):
        assert got[key] - base[key] == pytest.approx(0.25, abs=1e-6)


def test_nothing_learnable_and_nothing_at_all_give_zeros() -> None:
    rollout = random_rollout(4, rows=3)
    done = computed(replace(rollout, score_before=rollout.score_max))
    assert done["sessions"] == 0
    assert done["learning_effect"] == done["learning_effect_low"] == done["learning_effect_ratio"] == 0
    assert done["path_length"] > 0
    metric = RolloutMetrics(bootstrap=0)
    metric.update(rollout.select(torch.arange(0)))
    assert all(float(value) == 0 for value in metric.compute().values())


def test_no_bootstrap_gives_the_mean() -> None:
    metric = RolloutMetrics(bootstrap=0)
    metric.update(random_rollout(5))
    got = metric.compute()
    assert got["learning_effect_low"] == got["learning_effect"] == got["learning_effect_high"]


def test_negative_resamples_are_refused() -> None:
    with pytest.raises(SettingError, match="bootstrap"):
        RolloutMetrics(bootstrap=-1)


def test_marks_targets_and_first_steps_by_hand() -> None:
    """.2 and .6 become .4 and .8 on targets 0 and 1 (hard: 1 of 2 both times); .5 becomes .9 on target 2."""
    rollout = made_rollout(
        torch.tensor([[0, 4, 1], [0, 2, -1]]),
        mastery_before=torch.tensor([[0.2, 0.6, 0.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0, 0.0]]),
        mastery_after=torch.tensor([[0.4, 0.8, 1.0, 1.0, 1.0], [1.0, 1.0, 0.9, 1.0, 1.0]]),
        targets=torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0]], dtype=torch.bool),
    )
    got = computed(rollout)
    assert got["learning_effect_soft"] == pytest.approx((0.4 / 1.2 + 0.4 / 0.5) / 2)
    assert got["learning_effect_hard"] == 0
    assert got["on_target"] == pytest.approx(3 / 5)
    assert got["first_step_share"] == 1
    other = replace(rollout, action=rollout.action.flip(0))
    assert computed(other)["first_step_share"] == 1
    apart = made_rollout(torch.tensor([[3], [2], [3]]), concept=torch.tensor([[[3, 0]], [[2, -1]], [[3, 0]]]))
    assert computed(apart)["first_step_share"] == pytest.approx(2 / 3)
    targets = torch.eye(3, 5, dtype=torch.bool)  # the third learner's target is 2
    assert computed(replace(apart, targets=targets))["on_target"] == pytest.approx(1 / 3)


def test_rollouts_without_mastery_have_no_marks() -> None:
    rollout = made_rollout(torch.tensor([[0], [1]]))
    bare = replace(rollout, mastery_before=torch.empty(2, 0), mastery_after=torch.empty(2, 0))
    got = computed(bare)
    assert got["learning_effect_soft"] == got["learning_effect_hard"] == 0
    assert got["learning_effect"] == computed(rollout)["learning_effect"]
    both = computed(bare, rollout)
    assert both["learning_effect_soft"] == computed(rollout)["learning_effect_soft"]
