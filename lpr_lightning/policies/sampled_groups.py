"""Groups of paths that a network samples, what happens to the learners that follow them, and the rewards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import NonFiniteRewardError
from lpr_lightning.functional.rival_advantages import equal_groups
from lpr_lightning.nets.path_net import PathNet, SampledPaths
from lpr_lightning.objectives import Objectives
from lpr_lightning.types import PathRequest, Rollout


@dataclass(frozen=True)
class SampledGroups:
    """K paths of each of B requests: `sampled` [B * K, ...], the `rollout` of it, and `rewards` [B, K] by name."""

    sampled: SampledPaths
    rollout: Rollout
    rewards: Mapping[str, Tensor]

    @property
    def alike(self) -> Tensor:
        """True where the paths of a group are alike in every objective, [B] bool."""
        return equal_groups(torch.stack(list(self.rewards.values()), -1).float())

    def put(self, index: Tensor, other: Self) -> Self:
        """Return the groups with those at `index` [R] taken from `other`, which has R groups."""
        size, rows = self.rollout.group_size, len(self.rollout)
        taken = torch.arange(rows, device=index.device)
        place = (index[:, None] * size + torch.arange(size, device=index.device)).flatten()
        taken[place] = rows + torch.arange(len(place), device=index.device)
        rewards = {name: reward.index_copy(0, index, other.rewards[name]) for name, reward in self.rewards.items()}
        return replace(
            self,
            sampled=self.sampled.joined(other.sampled).select(taken),
            rollout=Rollout.join([self.rollout, other.rollout]).select(taken),
            rewards=rewards,
        )


@dataclass(frozen=True)
class GroupSampler:
    """Samples paths and lets learners follow them.

    Args:
        net: writes the paths.
        follow: lets the learners of a request follow K paths each, given their draws.
        objectives: reward what happened.
        group_size: K.
        temperature: of the policy that samples.
        rounds: how often a group whose paths are alike in every objective is sampled again.
    """

    net: PathNet
    follow: Callable[[PathRequest, Tensor, Draws], Rollout]
    objectives: Objectives
    group_size: int
    temperature: float
    rounds: int = 0

    def __call__(self, request: PathRequest, mastery: Tensor | None, draws: Draws) -> SampledGroups:
        """Return K paths for each request; the network samples without dropout.

        Raises:
            NonFiniteRewardError: a reward is NaN or infinite; names the objective.
        """
        groups = self._once(request, mastery, draws)
        for number in range(self.rounds):
            index = groups.alike.nonzero().squeeze(1)
            if not len(index):
                break
            known = None if mastery is None else mastery[index]
            again = self._once(request.select(index), known, draws.select(index).at(4 + number))
            groups = groups.put(index, again)
        return groups

    def _once(self, request: PathRequest, mastery: Tensor | None, draws: Draws) -> SampledGroups:
        self.net.eval()
        sampled = self.net.sample(request, self.group_size, self.temperature, draws.at(1), mastery)
        self.net.train()
        followed = self.follow(request, sampled.path, draws.at(2))
        rewards = {name: value.view(len(request), self.group_size) for name, value in self.objectives(followed).items()}
        for name, reward in rewards.items():
            if not bool(reward.isfinite().all()):
                raise NonFiniteRewardError(name, int((~reward.isfinite()).sum()), reward.numel())
        return SampledGroups(sampled, followed, rewards)
