"""Paths of all kinds for the same learners, and what they bring: what simulators are compared on."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.policies.planned import follow_paths
from lpr_lightning.protocols import Goal, Simulator
from lpr_lightning.types import PAD, PathRequest

MUTATION = 0.3
"""Share of the steps that a mutation replaces."""


def mixed_paths(planned: Tensor, target: Tensor, length: Tensor, count: int, draws: Draws) -> Tensor:
    """Return the planned paths and `count` others of each learner, [B, P + count, L], -1 from the wanted length on.

    Of the others a quarter each is drawn from all actions, from those on targets, from both in a share that differs
    from path to path, and by mutation of the planned paths.

    Args:
        planned: paths of policies, [B, P, L], -1 after their end.
        target: the actions on targets, [B, A] bool; none without any.
        length: wanted length of each learner's paths, [B].
        count: paths that are drawn for each learner.
        draws: random numbers of the learners.

    >>> planned, target = torch.tensor([[[0, 0]]]), torch.tensor([[True, False, False]])
    >>> found = mixed_paths(planned, target, torch.tensor([2]), 4, Draws.of(0, 0, torch.arange(1)))
    >>> found.shape, found[0, 0].tolist(), found[0, 2].tolist()
    (torch.Size([1, 5, 2]), [0, 0], [0, 0])
    """
    steps, kind = planned.shape[2], torch.arange(count, device=planned.device) % 4
    anywhere = draws.at(0).integers(target.shape[1], count, steps)
    place = draws.at(1).integers(target.sum(1)[:, None, None], count, steps)
    order = target.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    on_target = order.gather(1, place.flatten(1)).view_as(place)
    share = torch.tensor([0.0, 1.0, 0.5, 0.5], device=planned.device)[kind][:, None]
    share = torch.where(kind[:, None] == 2, draws.at(2).uniform(count, 1), share)
    fresh = torch.where(draws.at(3).uniform(count, steps) < share, on_target, anywhere)
    parent = planned[:, torch.arange(count, device=planned.device) // 4 % planned.shape[1]]
    same = (kind[:, None] == 3) & (parent != PAD) & (draws.at(4).uniform(count, steps) >= MUTATION)
    every = torch.cat([planned, torch.where(same, parent, fresh)], 1)
    return every.masked_fill(torch.arange(steps, device=planned.device) >= length[:, None, None], PAD)


def fitted_length(path: Tensor, length: int) -> Tensor:
    """Return paths [B, L] cut or padded to a length.

    >>> fitted_length(torch.tensor([[2, 1]]), 3)
    tensor([[ 2,  1, -1]])
    """
    return torch.nn.functional.pad(path, (0, max(length - path.shape[1], 0)), value=PAD)[:, :length]


def path_gains(simulator: Simulator, goal: Goal, request: PathRequest, path: Tensor, draws: Draws | None) -> Tensor:
    """Return what paths [B, K, L] bring in the mastery of the goal's concepts, summed over these, [B, K].

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(2, gain=0.4)
    >>> path_gains(ladder, Targets(), ladder.request(targets=[[0]], length=1), torch.tensor([[[0], [1]]]), None)
    tensor([[0.4000, 0.0000]])
    """
    taught = follow_paths(simulator, goal, request, path.flatten(0, 1), draws, path.shape[1])
    gain = ((taught.mastery_after - taught.mastery_before) * taught.targets).sum(1)
    return gain.view(path.shape[:2])
