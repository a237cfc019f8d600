"""Groups of sampled paths: sampled again where they are alike, refused where a reward is NaN."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import NonFiniteRewardError
from lpr_lightning.goals import Targets
from lpr_lightning.nets.path_decoder import SmallQwen2
from lpr_lightning.objectives import GroupDiversity, LearningEffect, Objective, Objectives
from lpr_lightning.policies.planned import follow_paths
from lpr_lightning.policies.sampled_groups import GroupSampler, SampledGroups
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import PathRequest, Rollout

LADDER, GROUP = Ladder(3, gain=1.0), 3


class Wrong(Objective):
    """NaN for one path, infinite for another."""

    name = "wrong"

    def forward(self, rollout: Rollout) -> Tensor:
        value = torch.zeros(len(rollout))
        value[1], value[4] = torch.nan, torch.inf
        return value


def sampler(*objectives: Objective, rounds: int = 0) -> GroupSampler:
    def follow(request: PathRequest, path: Tensor, draws: Draws) -> Rollout:
        return follow_paths(LADDER, Targets(), request, path, draws, GROUP)

    torch.manual_seed(0)
    net = SmallQwen2(hidden_size=8, num_layers=1, num_heads=1, max_length=4).build(3)
    return GroupSampler(net, follow, Objectives(objectives), GROUP, 1.0, rounds)


def sampled(*objectives: Objective, rounds: int = 0) -> SampledGroups:
    request = LADDER.request(targets=[[0], [1], [2], [0, 1], [0, 2], [1, 2]], length=3)
    return sampler(*objectives, rounds=rounds)(request, None, Draws.of(0, 0, torch.arange(6)))


def test_a_reward_that_is_not_a_number_names_its_objective() -> None:
    with pytest.raises(NonFiniteRewardError, match="objective 'wrong' is NaN or infinite for 2 of 18 paths"):
        sampled(LearningEffect(), Wrong())


def test_groups_that_are_alike_are_sampled_again_and_others_are_kept() -> None:
    once, often = sampled(LearningEffect()), sampled(LearningEffect(), rounds=6)
    assert bool(once.alike.any())
    assert bool((~once.alike).any())
    assert int(often.alike.sum()) < int(once.alike.sum())
    kept = ~once.alike
    width = once.rollout.action.shape[1]
    rows = kept.repeat_interleave(GROUP)
    assert torch.equal(often.rollout.action[rows][:, :width], once.rollout.action[rows])
    assert torch.equal(often.rewards["learning_effect"][kept], once.rewards["learning_effect"][kept])


def test_every_part_of_a_group_is_of_the_same_paths() -> None:
    groups = sampled(LearningEffect(), GroupDiversity(), rounds=2)
    path, action = groups.sampled.path, groups.rollout.action
    width = min(path.shape[1], action.shape[1])
    assert torch.equal(path[:, :width], action[:, :width])
    again = Objectives([LearningEffect(), GroupDiversity()])(groups.rollout)
    for name, reward in groups.rewards.items():
        torch.testing.assert_close(again[name].view(6, GROUP), reward)
