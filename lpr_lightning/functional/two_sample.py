"""Whether simulated answer sequences can be told from real ones: a two-sample test by a classifier."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.functional.masked_mean import masked_mean

FOLDS, RIDGE, ITERATIONS = 5, 1.0, 20


def sequence_features(answer: Tensor, rate: Tensor, concept: Tensor, before: Tensor, mask: Tensor) -> Tensor:
    """Return what sequences of answers look like, [B, 8].

    They are the share of right answers; what it is above the learner's earlier one; how far answers go with the rates
    of the questions (covariance); how often an answer is as the one before; the longest run of equal answers, as a
    share; what the second half is above the first; and the share of right answers after a right and after a wrong one
    on the same concept (the sequence's own share where there are none).

    Args:
        answer: 0 or 1, [B, L].
        rate: of right answers to each question, [B, L].
        concept: the first concept of each question, [B, L].
        before: the learner's share of right answers before, [B].
        mask: True where there is an answer, first steps of each row, [B, L].

    >>> answer, mask = torch.tensor([[1.0, 1.0, 0.0, 0.0]]), torch.ones(1, 4, dtype=torch.bool)
    >>> sequence_features(answer, torch.full((1, 4), 0.5), torch.zeros(1, 4), torch.tensor([0.5]), mask)[0, 3:6]
    tensor([ 0.6667,  0.5000, -1.0000])
    """
    mean = masked_mean(answer, mask, 1)
    covariance = masked_mean((answer - mean[:, None]) * (rate - masked_mean(rate, mask, 1)[:, None]), mask, 1)
    both = mask[:, 1:]
    same = (answer[:, 1:] == answer[:, :-1]) & both
    run, longest = torch.ones_like(mean), torch.ones_like(mean)
    for again in same.unbind(1):
        run = torch.where(again, run + 1, 1.0)
        longest = torch.maximum(longest, run)
    length = mask.sum(1)
    late = mask & (torch.arange(mask.shape[1], device=mask.device) >= length[:, None] / 2)
    trend = masked_mean(answer, late, 1) - masked_mean(answer, mask & ~late, 1)
    repeated = both & (concept[:, 1:] == concept[:, :-1])
    after = []
    for wanted in (1.0, 0.0):
        pair = repeated & (answer[:, :-1] == wanted)
        after.append(torch.where(pair.any(1), masked_mean(answer[:, 1:], pair, 1), mean))
    alike = masked_mean(same.float(), both, 1)
    return torch.stack([mean, mean - before, covariance, alike, longest / length.clamp_min(1), trend, *after], 1)


def told_apart(real: Tensor, simulated: Tensor) -> Tensor:
    """Return out-of-fold scores [2B] of which of two samples rows come from: real ones first, larger if simulated.

    Logistic regression with a ridge on features and their squares (all standardised), fitted on four fifths of the
    learners at a time; a learner's real and simulated rows lie in the same fold. An AUC of the scores near 0.5 says
    that these features do not tell the samples apart.

    Args:
        real: features of real sequences, [B, D].
        simulated: of simulated ones of the same learners, [B, D].

    >>> real, simulated = torch.zeros(10, 1), torch.ones(10, 1)
    >>> score = told_apart(real, simulated)
    >>> bool(score[:10].max() < score[10:].min())
    True
    """
    value = torch.cat([real, simulated]).double()
    value = _standard(torch.cat([value, _standard(value).square()], 1))
    value = F.pad(value, (1, 0), value=1.0)
    target = torch.arange(2, device=value.device).repeat_interleave(len(real)).double()
    fold = torch.arange(len(real), device=value.device).repeat(2) % FOLDS
    score = torch.zeros_like(target)
    for number in range(FOLDS):
        out = fold == number
        if bool(out.any()) and bool((~out).any()):
            score[out] = value[out] @ _logistic(value[~out], target[~out])
    return score.float()


def _standard(value: Tensor) -> Tensor:
    return (value - value.mean(0)) / value.std(0, correction=0).clamp_min(1e-6)


def _logistic(value: Tensor, target: Tensor) -> Tensor:
    """Return the weights [D] of logistic regression with a ridge, by Newton's method."""
    weight, ridge = value.new_zeros(value.shape[1]), RIDGE * torch.eye(value.shape[1]).to(value)
    ridge[0, 0] = 1e-6
    for _ in range(ITERATIONS):
        chance = (value @ weight).sigmoid()
        curvature = (value * (chance * (1 - chance))[:, None]).T @ value + ridge
        weight = weight + torch.linalg.solve(curvature, value.T @ (target - chance) - ridge @ weight)
    return weight
