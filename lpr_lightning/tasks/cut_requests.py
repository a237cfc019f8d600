"""Requests for paths as sessions cut out of learners' logs, and what is counted on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.types import PAD, Interactions, PathRequest


@dataclass(frozen=True)
class CutRequests:
    """Sessions of learners at positions `learner` of `log`; every tensor is [E] int64.

    The history is the answers `start:history` of a learner, the targets are the distinct concepts of the answers
    `tail:stop`, at most `max_targets` of them, the ones met first.

    >>> log = Interactions.from_lists([[(3, 1), (0, 0), (2, 1), (2, 0), (1, 1)]])
    >>> one = [torch.tensor([value]) for value in (0, 0, 2, 2, 5, 10)]
    >>> request = CutRequests(log, 4, *one, max_targets=1).batch(torch.tensor([0]))
    >>> request.history.concept.squeeze(-1), request.targets
    (tensor([[3, 0]]), tensor([[False, False,  True, False]]))
    """

    log: Interactions
    num_concepts: int
    learner: Tensor
    start: Tensor
    history: Tensor
    tail: Tensor
    stop: Tensor
    length: Tensor
    max_targets: int | None = None

    @property
    def sizes(self) -> Tensor:
        """Number of answers of each history, [E] int64."""
        return self.history - self.start

    def batch(self, index: Tensor) -> PathRequest:
        """Return the requests at `index` [B]."""
        learner = self.learner[index]
        tail = self.log.batch(learner, self.tail[index], self.stop[index]).concept.flatten(1)
        return PathRequest(
            history=self.log.batch(learner, self.start[index], self.history[index]),
            targets=first_met(tail, self.num_concepts, self.max_targets),
            length=self.length[index],
            learner=self.log.learner[learner],
            row=index,
        )


def first_met(concept: Tensor, num_concepts: int, most: int | None) -> Tensor:
    """Return the distinct concepts of each row of `concept` [B, T] (-1 where unused) as [B, N] bool.

    Of more than `most` concepts those met first are taken.

    >>> first_met(torch.tensor([[2, 2, 0, -1]]), 3, None)
    tensor([[ True, False,  True]])
    >>> first_met(torch.tensor([[2, 2, 0, -1]]), 3, 1)
    tensor([[False, False,  True]])
    """
    never = concept.shape[1]
    place = torch.arange(never, device=concept.device).expand_as(concept)
    column = torch.where(concept == PAD, num_concepts, concept)
    met = torch.full((len(concept), num_concepts + 1), never, device=concept.device)
    met = met.scatter_reduce(1, column, place, "amin")[:, :-1]
    found = met < never
    return found if most is None else found & (met.argsort(dim=1, stable=True).argsort(dim=1) < most)


def count_concepts(log: Interactions, num_concepts: int, learner: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """Return the number of distinct concepts in the answers `start:stop` of learners at positions `learner`, [E].

    >>> log = Interactions.from_lists([[(3, 1), (0, 0), (2, 1), (2, 0), (1, 1)]])
    >>> count_concepts(log, 4, torch.tensor([0, 0]), torch.tensor([0, 2]), torch.tensor([5, 4]))
    tensor([4, 1])
    """
    size = (stop - start).clamp_min(0)
    session = torch.arange(len(learner), device=learner.device).repeat_interleave(size)
    place = torch.arange(len(session), device=learner.device) - (size.cumsum(0) - size)[session]
    concept = log.concept[(log.offsets[learner] + start)[session] + place].long()
    key = (session[:, None] * num_concepts + concept)[concept != PAD].sort().values
    return torch.bincount(key[_changes(key)] // num_concepts, minlength=len(learner))


def answers_until(log: Interactions, num_concepts: int, distinct: int) -> Tensor:
    """Return after how many answers each learner has met `distinct` concepts, [B]; a learner who never has: length + 1.

    >>> log = Interactions.from_lists([[(3, 1), (3, 0), (2, 1)], [(0, 1)]])
    >>> answers_until(log, 4, 2)
    tensor([3, 2])
    """
    lengths = log.lengths
    learner = log.owner
    used = log.concept != PAD
    row = torch.arange(len(log), device=lengths.device)[:, None].expand_as(used)[used]
    key, order = (learner[:, None] * num_concepts + log.concept)[used].sort(stable=True)
    new = _changes(key)
    first = row[order[new]].sort().values
    known = torch.bincount(key[new] // num_concepts, minlength=log.num_learners)
    nth = (known.cumsum(0) - known + distinct - 1).clamp_max(max(len(first) - 1, 0))
    reached = known >= distinct
    answers = lengths + 1
    answers[reached] = first[nth[reached]] - log.offsets[:-1][reached] + 1
    return answers


def _changes(key: Tensor) -> Tensor:
    """True on the first of each run of equal keys."""
    return torch.cat([torch.ones_like(key[:1], dtype=torch.bool), key[1:] != key[:-1]])
