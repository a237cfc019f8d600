"""Moments of learners' logs, and concepts to be judged at them."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.types import PAD, Interactions


def sampled_moments(log: Interactions, count: int, seed: int, least: int = 5) -> tuple[Tensor, Tensor]:
    """Return random moments of logs: places of learners [S], each as often as its turn comes, and answers before [S].

    Learners come in an order of chance, round after round, so that as many of them as possible are among the first
    `count`; at least `least` answers lie before a moment and one after it.

    Args:
        log: answer logs of training learners.
        count: how many moments; fewer where no learner has so many answers.
        seed: of learners and moments.
        least: answers before a moment, from 1 on.

    >>> log = Interactions.from_lists([[(0, 1)] * 9, [(0, 1)] * 3, [(0, 1)] * 7])
    >>> place, step = sampled_moments(log, 4, seed=0)
    >>> sorted(place.tolist()), bool(((step >= 5) & (step < log.lengths[place])).all())
    ([0, 0, 2, 2], True)
    """
    some = (log.lengths > least).nonzero().squeeze(1)
    if not len(some):
        return some, some
    draws = Draws.of(seed, 0, log.learner[some])
    order = draws.uniform().argsort(stable=True)
    rounds = -(-count // len(some))
    step = least + draws.at(1).integers((log.lengths[some] - least)[:, None], rounds)
    return some[order].repeat(rounds)[:count], step[order].T.flatten()[:count]


def concepts_to_judge(practised: Tensor, related: Tensor, count: int, draws: Draws) -> Tensor:
    """Return concepts for each row, [S, count], -1 where there are no more: practised ones first, up to one half.

    The other half are at random among those that were not practised, related ones before others; where one kind is
    short the other fills up.

    Args:
        practised: how lately each concept was practised, [S, N], larger is later; 0 where it was not.
        related: [N, N] bool, whether concept c builds on j or j on c.
        count: of concepts.
        draws: one row for each.

    >>> practised = torch.tensor([[0, 3, 0, 7, 5]])
    >>> related = torch.zeros(5, 5, dtype=torch.bool)
    >>> related[2, 3] = True
    >>> concepts_to_judge(practised, related, 3, Draws.of(0, 0, torch.arange(1))).tolist()
    [[3, 4, 2]]
    """
    done = practised > 0
    near = (done.float() @ (related | related.T).float()) > 0
    late = torch.where(done, practised, 0).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    half = -(-count // 2)
    chance = draws.uniform(practised.shape[1])
    rank = torch.where(done & (late < half), 0, torch.where(~done & near, 1, torch.where(~done, 2, 3)))
    key = rank + torch.where(rank == 0, late / practised.shape[1], chance)
    order = key.argsort(dim=1, stable=True)[:, :count]
    return order if order.shape[1] == count else torch.nn.functional.pad(order, (0, count - order.shape[1]), value=PAD)
