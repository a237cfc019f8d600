"""Contrastive losses that align questions and solution steps with knowledge concepts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cosine(anchor: Tensor, other: Tensor) -> Tensor:
    """Return the cosine similarities of vectors [A, D] and [C, D], [A, C] float32.

    >>> cosine(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    tensor([[1., 0.]])
    """
    return F.normalize(anchor.float(), dim=-1) @ F.normalize(other.float(), dim=-1).T


def allowed_negatives(positive: Tensor, cluster: Tensor, text: Tensor | None = None) -> Tensor:
    """Return which concepts may be pushed away from each anchor (ExRec, Ozyurt et al. 2025, eq. 6), [A, C] bool.

    A concept is no negative of an anchor that has a concept of the same cluster: it may say the same in other words.

    Differs from the paper: anchors of equal text share their positives' clusters, so that a text that stands in the
    batch twice is never pushed away from what it is pulled to.

    Args:
        positive: which concepts each anchor is on, [A, C] bool.
        cluster: cluster of each concept, [C] int64; a concept that stands in the batch twice has one of C each time.
        text: number of each anchor's text, [A] int64; None where no two are equal.

    >>> positive = torch.tensor([[True, False, False], [False, False, True]])
    >>> allowed_negatives(positive, torch.tensor([5, 5, 7]))
    tensor([[False, False,  True],
            [ True,  True, False]])
    """
    _, group = torch.unique(cluster, return_inverse=True)
    groups = int(group.max()) + 1 if len(group) else 0
    own = torch.zeros(len(positive), groups, device=positive.device)
    own = own.index_add(1, group, positive.to(own.dtype))
    if text is not None and len(text):
        _, same = torch.unique(text, return_inverse=True)
        shared = torch.zeros_like(own[: int(same.max()) + 1]).index_add(0, same, own)
        own = shared[same]
    return (own == 0)[:, group]


def contrastive_loss(similarity: Tensor, positive: Tensor, negative: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the mean over anchors of the mean over their positives of -log softmax (ExRec, eq. 7 and 8), a scalar.

    The softmax of an anchor runs over its positives and its allowed negatives alone. Finite for every batch: anchors
    without a positive count for nothing, without any the loss is 0.

    Differs from the paper: which positives stand in the denominator of eq. 7 can't be read from its text; here all of
    the anchor's do, as in the authors' code, whose loss is NaN as it masks by the logarithm of 0.

    Args:
        similarity: of anchors and concepts, [A, C] in [-1, 1].
        positive: [A, C] bool.
        negative: [A, C] bool, none of them positive.
        temperature: above 0.

    >>> similarity = torch.tensor([[1.0, 0.0, 0.0]])
    >>> positive, negative = torch.tensor([[True, False, False]]), torch.tensor([[False, True, False]])
    >>> contrastive_loss(similarity, positive, negative, temperature=1.0)  # log(1 + 1 / e)
    tensor(0.3133)
    """
    counted = positive.any(1).nonzero().squeeze(1)
    if not len(counted):
        return 0.0 * similarity.sum()
    similarity, positive, negative = (one.index_select(0, counted) for one in (similarity, positive, negative))
    logit = similarity / temperature
    total = logit.masked_fill(~(positive | negative), -torch.inf).logsumexp(1, keepdim=True)
    return ((total - logit) * positive).sum(1).div(positive.sum(1)).mean()


def question_vectors(question: Tensor, step: Tensor, owner: Tensor, scale: bool = True) -> Tensor:
    """Return one vector for each question: its own and the mean of its steps' (ExRec, eq. 10), [B, D].

    Args:
        question: vectors of the wording, [B, D].
        step: vectors of all solution steps, [S, D].
        owner: which question each step is of, [S] int64.
        scale: give each the length sqrt(D), as the authors' code does when it loads them; else length 1.

    >>> question, step = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    >>> question_vectors(question, step, torch.tensor([0, 0]), scale=False)
    tensor([[0.7071, 0.7071],
            [1.0000, 0.0000]])
    """
    question, step = question.float(), step.float()
    count = torch.zeros(len(question), device=question.device).index_add(0, owner, torch.ones_like(step[:, 0]))
    mean = torch.zeros_like(question).index_add(0, owner, step) / count.clamp_min(1)[:, None]
    vector = F.normalize((question + mean) / 2, dim=-1)
    return vector * vector.shape[-1] ** 0.5 if scale else vector
