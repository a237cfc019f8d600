"""Pareto dominance and hypervolume, larger is better in every objective."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError


def non_dominated(points: Tensor) -> Tensor:
    """Return True on the points that no other point dominates, [B] bool; equal points stay together.

    IB-GRPO (arXiv 2601.14686), section 3.3.

    Args:
        points: values, [B, M], larger is better.

    >>> non_dominated(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.5]]))
    tensor([ True,  True, False])
    """
    if points.shape[0] == 0:
        return torch.zeros(0, dtype=torch.bool, device=points.device)
    keep = moocore.is_nondominated(_array(points), maximise=True, keep_weakly=True)
    return torch.from_numpy(np.asarray(keep, dtype=bool)).to(points.device)


def hypervolume(points: Tensor, reference: Sequence[float] | Tensor) -> Tensor:
    """Return the volume between the reference point and the front of `points`, a scalar from 0 on.

    Exact. Points that are not above the reference in every objective add nothing; NaN if a point holds a NaN.

    Args:
        points: values, [R, M], larger is better.
        reference: the corner that volume is measured from, the worst value that counts in each objective, M values.

    Raises:
        SettingError: the reference has another number of values than the points.

    >>> hypervolume(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), [0.0, 0.0])
    tensor(3.)
    """
    corner = torch.as_tensor(reference, dtype=torch.float64).cpu()
    if corner.numel() != points.shape[-1]:
        raise SettingError("reference", corner.tolist(), f"{points.shape[-1]} values, one for each objective")
    volume = torch.nan if bool(points.isnan().any()) else 0.0
    if points.shape[0] and volume == 0.0:
        volume = float(moocore.hypervolume(_array(points), ref=corner.numpy(), maximise=True))
    return torch.tensor(volume, device=points.device)


def igd_plus(points: Tensor, reference: Tensor) -> Tensor:
    """Return how far on average the set of points is from dominating each reference point, a scalar from 0 on.

    IGD+ (Ishibuchi et al., 2015): the mean over reference points z of the least, over the points p, of the length of
    max(z - p, 0). Lower is better; only what a point lacks counts. NaN without points, or where one holds a NaN.

    Args:
        points: values, [R, M], larger is better.
        reference: what a set should reach, [Z, M].

    Raises:
        SettingError: the reference has another number of values than the points.

    >>> igd_plus(torch.tensor([[1.0, 0.0], [0.5, 2.0]]), torch.tensor([[1.0, 1.0]]))
    tensor(0.5000)
    """
    if reference.dim() != 2 or reference.shape[1] != points.shape[-1] or not len(reference):
        raise SettingError("reference", tuple(reference.shape), f"a shape of [Z, {points.shape[-1]}]")
    distance = torch.nan
    if points.shape[0] and not bool(points.isnan().any()):
        distance = float(moocore.igd_plus(_array(points), ref=_array(reference), maximise=True))
    return torch.tensor(distance, device=points.device)


def _array(points: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return points.detach().double().cpu().numpy()
