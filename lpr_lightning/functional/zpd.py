"""The zone of proximal development as a band of difficulty around a centre that depends on proficiency."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.masked_mean import masked_mean
from lpr_lightning.types import PAD, Interactions


class ZPDBands(NamedTuple):
    """Bands by proficiency: `edges` [S - 1] between S bins, `centre` [S] is z(a), `width` [S] is sigma."""

    edges: Tensor
    centre: Tensor
    width: Tensor

    def at(self, proficiency: Tensor) -> tuple[Tensor, Tensor]:
        """Return centre and width, both [B], for learners of `proficiency` [B]."""
        place = torch.bucketize(proficiency, self.edges, right=True)
        return self.centre[place], self.width[place]


def concept_difficulty(log: Interactions, num_concepts: int, smoothing: float = 5.0) -> Tensor:
    """Return the error rate of each concept over all learners of a log, [N] in [0, 1].

    IB-GRPO (arXiv 2601.14686), section 3.2.2. An answer counts once for each of its concepts.

    Differs from the paper: the rates are drawn towards the log's own error rate as if each concept had `smoothing`
    more answers of that rate; a concept without answers has exactly that rate, and an empty log gives 0.5.

    Args:
        log: answer logs of training learners.
        num_concepts: N.
        smoothing: weight of the log's own rate, in answers.

    Raises:
        SettingError: the log has more concepts than `num_concepts`.

    >>> concept_difficulty(Interactions.from_lists([[(0, 0), (0, 1), (1, 1), (1, 1)]]), 3, smoothing=0)
    tensor([0.5000, 0.0000, 0.2500])
    """
    concept = log.concept
    real = concept != PAD
    if bool(real.any()) and int(concept.max()) >= num_concepts:
        raise SettingError("num_concepts", num_concepts, f"more than the log's largest concept, {int(concept.max())}")
    failed = real & (log.correct == 0).unsqueeze(1)
    count = torch.bincount(concept[real], minlength=num_concepts).double()
    wrong = torch.bincount(concept[failed], minlength=num_concepts).double()
    rate = float((log.correct == 0).double().mean()) if len(log) else 0.5
    weight = count + smoothing
    return torch.where(weight > 0, (wrong + smoothing * rate) / weight.clamp_min(1e-12), rate).float()


def step_difficulty(concept: Tensor, difficulty: Tensor) -> tuple[Tensor, Tensor]:
    """Return the difficulty of each step, the mean over its concepts, and where there is any, both [B, L].

    IB-GRPO (arXiv 2601.14686) knows steps of one concept only.

    Args:
        concept: concepts of each step, [B, L, C] int64, -1 where unused.
        difficulty: error rate of each concept, [N].

    >>> step_difficulty(torch.tensor([[[0, 1], [1, -1], [-1, -1]]]), torch.tensor([0.5, 0.25]))
    (tensor([[0.3750, 0.2500, 0.0000]]), tensor([[ True,  True, False]]))
    """
    known = concept != PAD
    return masked_mean(difficulty[concept.clamp_min(0)], known, -1), known.any(-1)


def zpd_alignment(difficulty: Tensor, mask: Tensor, centre: Tensor, width: Tensor) -> Tensor:
    """Return how near the difficulties of a path's steps lie to the learner's band, [B] in [0, 1].

    IB-GRPO (arXiv 2601.14686), eq. 2, averaged over the steps that count; 0 for a path without any.

    Args:
        difficulty: of each step, [B, L] in [0, 1].
        mask: True on the steps that count, [B, L] bool.
        centre: z(a) of each learner, [B].
        width: sigma of each learner, [B], above 0.

    >>> difficulty, mask = torch.tensor([[0.5, 0.4], [0.4, 0.0]]), torch.tensor([[True, True], [True, False]])
    >>> zpd_alignment(difficulty, mask, centre=torch.full((2,), 0.5), width=torch.full((2,), 0.1))
    tensor([0.8033, 0.6065])
    """
    distance = difficulty - centre.unsqueeze(1)
    return masked_mean(torch.exp(-distance.square() / (2 * width.unsqueeze(1).square())), mask, 1)


def estimate_zpd(
    difficulty: Tensor,
    mask: Tensor,
    effect: Tensor,
    proficiency: Tensor,
    bins: int = 10,
    threshold: float = 0.9,
    min_paths: int = 30,
    width_floor: float = 0.05,
    width_fallback: float = 0.1,
    centre_fallback: float = 0.5,
) -> ZPDBands:
    """Estimate the bands from the difficulties of the steps of paths that taught much.

    IB-GRPO (arXiv 2601.14686), section 3.2.2: z(a) is where the difficulties of trajectories with E_p > 0.9 lie for
    learners of proficiency a. The paper states no more than that; the rest is ours:
        1. Proficiency is cut at its quantiles over all paths into `bins` bins. z is the mean and sigma the standard
           deviation of the difficulties of all steps of a bin's good paths; sigma is at least `width_floor`.
        2. A bin with fewer than `min_paths` good paths takes mean and deviation of all good paths.
        3. z is made non-decreasing in proficiency (isotonic regression, weighted by the bins' good paths).
        4. Where fewer than `min_paths` paths are good at all, the best `min_paths` of those with E_p > 0 are; without
           any, the band lies at `centre_fallback`, `width_fallback` wide.

    Args:
        difficulty: of each step, [R, L] in [0, 1].
        mask: True on the steps that count, [R, L] bool; paths without any do not count.
        effect: E_p of each path, [R].
        proficiency: a of each path's learner before the path, [R].
        bins: number of bins S.
        threshold: E_p above which a path is good.
        min_paths: good paths that a bin needs.
        width_floor: smallest sigma.
        width_fallback: sigma where there is nothing to estimate it from.
        centre_fallback: z likewise.

    Raises:
        SettingError: `bins` is below 1.

    >>> bands = estimate_zpd(
    ...     torch.tensor([[0.6], [0.2], [0.6]]), torch.ones(3, 1, dtype=torch.bool), torch.ones(3),
    ...     torch.tensor([0.9, 0.1, 0.8]), bins=2, min_paths=1,
    ... )
    >>> bands.centre
    tensor([0.2000, 0.6000])
    """
    checked("bins", bins, 1)
    usable = mask.any(1)
    good = _good(effect, usable, threshold, min_paths)
    if not bool(good.any()):
        centre, width = (difficulty.new_full((bins,), value) for value in (centre_fallback, width_fallback))
        return ZPDBands(difficulty.new_zeros(bins - 1), centre, width)
    cuts = torch.arange(1, bins, device=difficulty.device, dtype=torch.float64) / bins
    edges = torch.quantile(proficiency[usable].double(), cuts).to(difficulty.dtype)
    place = torch.bucketize(proficiency[good], edges, right=True)
    step, value = mask[good].double(), torch.where(mask, difficulty, 0.0)[good].double()
    count = torch.bincount(place, minlength=bins)
    totals = torch.stack([step.sum(1), value.sum(1), value.square().sum(1)])
    binned = totals.new_zeros(3, bins).index_add_(1, place, totals)
    enough = count >= min_paths
    steps, first, second = torch.where(enough, binned, totals.sum(1, keepdim=True))
    mean = first / steps
    spread = (second / steps - mean.square()).clamp_min(0).sqrt().clamp_min(width_floor)
    centre = isotonic(mean, torch.where(enough, count.double(), 1e-6))
    width = torch.where(steps > 1, spread, width_fallback)
    return ZPDBands(edges, centre.to(difficulty.dtype), width.to(difficulty.dtype))


def isotonic(value: Tensor, weight: Tensor) -> Tensor:
    """Return the non-decreasing sequence nearest to `value` in weighted squares, [S].

    Pool adjacent violators.

    Args:
        value: a sequence, [S].
        weight: its weights, all above 0, [S].

    >>> isotonic(torch.tensor([1.0, 3.0, 2.0]), torch.ones(3))
    tensor([1.0000, 2.5000, 2.5000])
    """
    means: list[float] = []
    weights: list[float] = []
    sizes: list[int] = []
    for one, its_weight in zip(value.tolist(), weight.tolist(), strict=True):
        means.append(one)
        weights.append(its_weight)
        sizes.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            right, right_weight, right_size = means.pop(), weights.pop(), sizes.pop()
            total = weights[-1] + right_weight
            means[-1] = (means[-1] * weights[-1] + right * right_weight) / total
            weights[-1] = total
            sizes[-1] += right_size
    pooled = torch.tensor(means, dtype=value.dtype, device=value.device)
    return pooled.repeat_interleave(torch.tensor(sizes, dtype=torch.int64, device=value.device))


def _good(effect: Tensor, usable: Tensor, threshold: float, min_paths: int) -> Tensor:
    good = usable & (effect > threshold)
    if int(good.sum()) >= min_paths:
        return good
    candidate = usable & (effect > 0)
    order = torch.where(candidate, effect, -torch.inf).argsort(descending=True, stable=True)
    best = torch.zeros_like(good)
    best[order[:min_paths]] = True
    return best & candidate
