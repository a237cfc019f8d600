"""A Gaussian belief about a learner's levels, which answers sharpen one at a time."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Belief(NamedTuple):
    """What is believed of the level of one concept each, u f + e, beside what factors f all concepts share.

    `mean` [B, R] and `covariance` [B, R, R] of f; given f, e is normal with mean `own` - `shared` u f and variance
    `variance`, [B] each. With u [B, R] the level has mean own + (1 - shared) u mean and variance
    (1 - shared)^2 u covariance u' + variance.
    """

    mean: Tensor
    covariance: Tensor
    own: Tensor
    shared: Tensor
    variance: Tensor


def narrowing(variance: Tensor) -> Tensor:
    """Return k = (1 + pi variance / 8)^(-1/2): the mean of sigmoid(level) is about sigmoid(k mean) (MacKay 1992).

    >>> narrowing(torch.tensor([0.0, 8 / math.pi * 3]))
    tensor([1.0000, 0.5000])
    """
    return torch.rsqrt(1 + math.pi / 8 * variance)


def bounded_success(scaled: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Return the chances of success and of failure, [...] each: least + (1 - least - missing) sigmoid(scaled).

    Args:
        scaled: levels times their narrowing, [...] in logits.
        bounds: chance of success without any level, chance of failure with all of it, [2].

    >>> bounded_success(torch.zeros(1), torch.tensor([0.2, 0.1]))
    (tensor([0.5500]), tensor([0.4500]))
    """
    reached, span = torch.sigmoid(scaled), 1 - bounds[0] - bounds[1]
    return bounds[0] + span * reached, bounds[1] + span * (1 - reached)


def sharpened(
    belief: Belief, loading: Tensor, base: Tensor, correct: Tensor, weight: Tensor, bounds: Tensor
) -> tuple[Tensor, Tensor, Belief]:
    """Return scaled levels before, levels after [B] and the belief after one answer each, by an extended Kalman filter.

    With p the chance of success and p' its slope in the level, r = y - p, and P the covariance of all levels, answer y
    on concept c gives s = p'^2 P_cc + p (1 - p), m += P_c p' r / s, P -= P_c P_c' p'^2 / s. For P = U U' + diagonal
    this leaves concepts that were not asked independent given the factors, so that R^2 + R + 3 N numbers hold the
    whole posterior: exact, though the textbook's N^2 are never formed.

    Args:
        belief: of the concepts asked.
        loading: u of the concepts asked, [B, R].
        base: what is added to the level, [B].
        correct: answers, [B] in [0, 1].
        weight: how much an answer counts, [B]; 0 leaves the belief as it is.
        bounds: see `bounded_success`.

    >>> belief = Belief(torch.zeros(1, 1), torch.ones(1, 1, 1), torch.zeros(1), torch.zeros(1), torch.ones(1))
    >>> one, never = torch.ones(1), torch.zeros(2)  # P_cc = 2, k = .748, p = .5, p' = k / 4, s = .32: m = 2 k / 8 / s
    >>> sharpened(belief, one[:, None], 0 * one, one, one, never)[1]
    tensor([0.5847])
    """
    mean, covariance, own, shared, variance = belief
    rest = 1 - shared
    effective = rest[:, None] * loading
    cross = (covariance * effective[:, None]).sum(2)
    total, known = (effective * cross).sum(1) + variance, (effective * mean).sum(1)
    level, scale = base + own + known, narrowing(total)
    scaled = level * scale
    chance, failure = bounded_success(scaled, bounds)
    slope = (chance - bounds[0]) * (failure - bounds[1]) * (scale / (1 - bounds[0] - bounds[1]))
    noise, surprise, precision = chance * failure, weight * slope * (correct - chance), weight * slope.square()
    spread = precision * total + noise
    step = surprise / spread
    given = variance / (precision * variance + noise)
    gain = precision * given
    after = Belief(
        mean=mean + cross * step[:, None],
        covariance=covariance - cross[:, :, None] * (cross * (precision / spread)[:, None])[:, None],
        own=own + gain * known + given * surprise,
        shared=shared + gain * rest,
        variance=variance - gain * variance,
    )
    return scaled, level + total * step, after
