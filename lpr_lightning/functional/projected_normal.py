"""The projected normal distribution: the direction of a normal vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

POINTS = 64
BELOW, ABOVE = 20.0, 8.0
"""The radius is integrated from so many widths below its likeliest value to so many above, on a logarithmic scale."""


def projected_normal_sample(mean: Tensor, scale: Tensor, noise: Tensor) -> Tensor:
    """Return directions [..., D] of length 1 of normal vectors, differentiable in mean and scale.

    Args:
        mean: [..., D].
        scale: standard deviation of each coordinate, above 0, like `mean` or broadcast against it.
        noise: standard normal, like `mean`.

    >>> projected_normal_sample(torch.tensor([3.0, 0.0]), torch.ones(2), torch.tensor([0.0, 4.0]))
    tensor([0.6000, 0.8000])
    """
    return normalize(mean + scale * noise, dim=-1)


def projected_normal_log_prob(direction: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return the log-density [...] of directions of normal vectors, over the surface of the unit sphere.

    The density at u is the integral over all radii r > 0 of r^(D - 1) N(r u; mean, diag(scale^2)). With r = e^y the
    integrand is smooth and has one peak; the trapezoid rule around it is exact to rounding. Unlike the density of the
    unprojected sample, it is that of the action which is taken.

    Args:
        direction: of length 1, [..., D], D at least 2.
        mean: [..., D].
        scale: standard deviation of each coordinate, above 0, like `mean`.

    >>> up, none = torch.tensor([0.0, 1.0]), torch.zeros(2)
    >>> round(float(projected_normal_log_prob(up, none, torch.ones(2)).exp()) * 2 * math.pi, 4)  # even on the circle
    1.0
    """
    size = direction.shape[-1]
    scale = scale.expand_as(mean)
    unit, centre = direction / scale, mean / scale
    with torch.no_grad():  # nodes: any will do, so no gradient flows through their places
        square, along = unit.square().sum(-1), (unit * centre).sum(-1)
        root = (along.square() + 4 * size * square).sqrt()
        likeliest = torch.where(along > 0, (along + root) / (2 * square), 2 * size / (root - along))
        width = (likeliest * root).rsqrt()
        steps = torch.linspace(-BELOW, ABOVE, POINTS, device=mean.device, dtype=mean.dtype)
        place = width[..., None] * steps  # of log r, from the likeliest
        away = likeliest[..., None] * torch.expm1(place)
    rest = likeliest[..., None] * unit - centre
    at_peak = -0.5 * rest.square().sum(-1) + size * likeliest.log()
    slope = -(rest * unit).sum(-1)
    curve = -0.5 * unit.square().sum(-1)
    around = slope[..., None] * away + curve[..., None] * away.square() + size * place
    spacing = width * ((BELOW + ABOVE) / (POINTS - 1))
    constant = -0.5 * size * math.log(2 * math.pi) - scale.log().sum(-1)
    log_prob: Tensor = constant + at_peak + torch.logsumexp(around, -1) + spacing.log()
    return log_prob
