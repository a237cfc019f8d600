"""Learners forget with time; their logs show that abler ones chose harder concepts and weak ones stopped."""

from __future__ import annotations

import math

import pytest
import torch

from lpr_lightning.simulators.selective_world import SelectiveLearners, SelectiveWorld
from lpr_lightning.types import Exercise, Interactions

FEW = SelectiveLearners(num_concepts=5, num_items=10, num_learners=3)
MANY = SelectiveLearners(num_learners=600)
LOG = MANY.practice_log(30, 90)


def on(concept: int, rows: int = 1) -> Exercise:
    return Exercise.of_concepts(torch.full((rows,), concept))


def test_a_step_by_hand() -> None:
    kind, gap = FEW.kind, 0.4
    state = (FEW.difficulty[None] + gap, torch.full((1, 5), 0.6), torch.full((1, 5), 30.0))
    beginning, gain, age = FEW.practise(state, on(2), torch.zeros(1))
    left = 0.6 / (1 + 30 / kind.half_life)
    reach = 1 / (1 + math.exp(-2 * (gap + left + kind.reach)))
    grown = left + kind.rate * math.exp(-left / kind.width) * reach * kind.wrong_share
    assert gain[0].tolist() == pytest.approx([0.6, 0.6, grown, 0.6, 0.6])
    assert age[0].tolist() == [31, 31, 0, 31, 31]
    assert torch.equal(beginning, state[0])


def test_gains_are_halved_after_the_half_life_and_fade_ever_slower() -> None:
    times = torch.tensor([0.0, 1.0, 2.0, 1e6]) * FEW.kind.half_life
    assert FEW.left(torch.ones(4), times).tolist() == pytest.approx([1, 1 / 2, 1 / 3, 0], abs=1e-5)


def test_learners_forget_what_they_leave_and_never_what_they_came_with() -> None:
    state = FEW.practise(FEW.begin(torch.arange(3)), on(0, 3), torch.ones(3))
    levels = []
    for _ in range(40):
        levels.append(FEW.level(state)[:, 0])
        state = FEW.practise(state, on(4, 3), torch.ones(3))
    falling = torch.stack(levels).diff(dim=0)
    assert (falling < 0).all()
    assert (falling.diff(dim=0) > 0).all()
    assert (levels[-1] > FEW.ability[:, 0]).all()


def test_no_concept_needs_another() -> None:
    assert FEW.prerequisites is None
    assert not FEW.needs.any()
    low, high = FEW.begin(torch.zeros(2, dtype=torch.int64))[0].clone(), 5.0
    low[1, :3] += high
    state = (low, torch.zeros(2, 5), torch.zeros(2, 5))
    gained = FEW.practise(state, on(3, 2), torch.ones(2))[1][:, 3]
    assert gained[0] == gained[1]


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


def mean_difficulty(learners: SelectiveLearners, log: Interactions) -> torch.Tensor:
    owner = torch.arange(log.num_learners).repeat_interleave(log.lengths)
    difficulty = learners.difficulty[log.concept[:, 0].long()]
    return torch.zeros(log.num_learners).index_add(0, owner, difficulty) / log.lengths


def test_abler_learners_practise_harder_concepts() -> None:
    assert correlation(MANY.ability.mean(1), mean_difficulty(MANY, LOG)) > 0.7
    loose = SelectiveLearners(num_learners=600, kind=SelectiveWorld(focus=50.0))
    assert abs(correlation(loose.ability.mean(1), mean_difficulty(loose, loose.practice_log(30, 90)))) < 0.3


def test_weak_learners_stop_earlier() -> None:
    ability = MANY.ability.mean(1)
    weak, able = ability < ability.quantile(0.25), ability > ability.quantile(0.75)
    staying = SelectiveLearners(num_learners=600, kind=SelectiveWorld(quitting=0.0)).practice_log(30, 90)
    apart, same = (float(one[able].mean() - one[weak].mean()) for one in (LOG.lengths.float(), staying.lengths.float()))
    assert apart > 5
    assert abs(same) < 4
    assert (LOG.lengths <= staying.lengths).all()
