"""What a policy may know of each concept: of the learner and the request, and of the path so far.

B requests, U states of paths, N concepts, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor

CERTAIN = 0.01
"""Masteries are read between this and 1 less this, so that their logits stay within 4.6 of 0."""
STEPS = 10.0
"""Steps left are counted in tens."""


def logit(mastery: Tensor) -> Tensor:
    """Return the log-odds of mastery, bounded.

    >>> logit(torch.tensor([0.0, 0.5]))
    tensor([-4.5951,  0.0000])
    """
    return torch.logit(mastery.clamp(CERTAIN, 1 - CERTAIN))


def practice_counts(concept: Tensor, mask: Tensor, num_concepts: int) -> Tensor:
    """Return how often each concept occurs in answers on `concept` [B, T, C], -1 where unused, [B, N] float32.

    Args:
        concept: of the answers.
        mask: which of them are real, [B, T] bool.
        num_concepts: N.

    >>> practice_counts(torch.tensor([[[0, -1], [2, 0], [1, 1]]]), torch.tensor([[True, True, False]]), 3)
    tensor([[2., 0., 1.]])
    """
    used = ((concept >= 0) & mask[..., None]).flatten(1)
    count = torch.zeros(len(concept), num_concepts, device=concept.device)
    return count.scatter_add(1, concept.clamp_min(0).flatten(1), used.float())


def weakest(mastery: Tensor, needs: Tensor) -> Tensor:
    """Return the least mastery [B, N] among what each concept needs, 1 where it needs nothing.

    >>> needs = torch.tensor([[False, False, False], [True, False, False], [True, True, False]])
    >>> weakest(torch.tensor([[0.2, 0.1, 0.9]]), needs)
    tensor([[1.0000, 0.2000, 0.1000]])
    """
    most = int(needs.sum(1).max())
    if not most:
        return torch.ones_like(mastery)
    needed, place = needs.to(torch.int8).topk(most, dim=1)
    return mastery[:, place].masked_fill(needed == 0, 1.0).amin(2)


def request_features(
    mastery: Tensor | None, practised: Tensor, targets: Tensor, graph: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Return what does not change along a path, [B, N, F].

    In order: log(1 + practice), target or not, logit of mastery; with a graph also whether the concept is an ancestor
    of a target without being one, and the share of targets that it is an ancestor of; with both, the logits of the
    least mastery among its prerequisites and among all its ancestors.

    Args:
        mastery: estimated, [B, N]; None leaves its features out.
        practised: answers on each concept so far, [B, N].
        targets: [B, N] bool.
        graph: prerequisites and ancestors of each concept, [N, N] bool both; None leaves their features out.

    >>> graph = (torch.tensor([[False, False], [True, False]]),) * 2
    >>> request_features(torch.tensor([[0.5, 0.5]]), torch.zeros(1, 2), torch.tensor([[False, True]]), graph)[0]
    tensor([[0.0000, 0.0000, 0.0000, 1.0000, 1.0000, 4.5951, 4.5951],
            [0.0000, 1.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000]])
    """
    target = targets.float()
    columns = [practised.log1p(), target]
    if mastery is not None:
        columns.append(logit(mastery))
    if graph is not None:
        behind = target @ graph[1].float()
        columns += [(behind > 0) * (1 - target), behind / target.sum(1, keepdim=True).clamp_min(1)]
    if graph is not None and mastery is not None:
        columns += [logit(weakest(mastery, needed)) for needed in graph]
    return torch.stack(columns, 2)


def path_features(count: Tensor, last: Tensor, left: Tensor, length: Tensor, needs: Tensor | None) -> Tensor:
    """Return what changes along a path, [U, N, F].

    In order: log(1 + times in the path so far), whether it was the last step, share of steps left, tens of steps left;
    with prerequisites also the sum of log(1 + times) over them.

    Args:
        count: times of each concept in the path so far, [U, N].
        last: concept of the last step, [U]; -1 before the first.
        left: steps left, [U].
        length: steps of the whole path, [U].
        needs: prerequisites of each concept, [N, N] bool, or [U, N, N]; None leaves their feature out.

    >>> last, left = torch.tensor([0]), torch.tensor([1])
    >>> path_features(torch.tensor([[1.0, 0.0]]), last, left, torch.tensor([2]), None)[0]
    tensor([[0.6931, 1.0000, 0.5000, 0.1000],
            [0.0000, 0.0000, 0.5000, 0.1000]])
    """
    times = count.log1p()
    was_last = (torch.arange(count.shape[1], device=count.device) == last[:, None]).to(times)
    share = (left / length.clamp_min(1)).to(times)[:, None].expand_as(times)
    columns = [times, was_last, share, (left / STEPS).to(times)[:, None].expand_as(times)]
    if needs is not None:
        columns.append((needs.to(times) @ times[..., None]).squeeze(2))
    return torch.stack(columns, 2)
