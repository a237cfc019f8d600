"""Whether the difficulty of a path suits the learner."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.errors import checked, checked_positive
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.functional.zpd import ZPDBands, concept_difficulty, estimate_zpd, step_difficulty, zpd_alignment
from lpr_lightning.hparams import arguments
from lpr_lightning.objectives.base import Objective
from lpr_lightning.types import Interactions, Rollout


class ZPDAlignment(Objective):
    """S_ZPD of IB-GRPO (arXiv 2601.14686), eq. 2.

    The difficulty of a concept is its error rate among training learners (`fit`), that of a step the mean over its
    concepts; steps without a concept do not count. Centre and width of the band come from paths that taught training
    learners much (`fit_paths`), by proficiency: the mean mastery of all concepts before the path. Until fitted, all
    concepts are of difficulty 0.5 and every path lies at the centre.

    Differs from the paper: see `concept_difficulty` and `estimate_zpd` for what it leaves open.

    Args:
        bins: quantile bins of proficiency.
        threshold: E_p above which a path shows where the band lies.
        min_paths: such paths that a bin needs for a band of its own.
        smoothing: weight of the overall error rate in each concept's, in answers.
        width_floor: smallest width.
        width_fallback: width where there are no paths to estimate it from.

    Raises:
        SettingError: a number outside its range.

    >>> objective = ZPDAlignment(bins=2)
    >>> objective.configure(num_concepts=3)
    >>> sorted(objective.state_dict())
    ['centre', 'difficulty', 'edges', 'width']
    """

    name = "zpd"
    difficulty: Tensor
    edges: Tensor
    centre: Tensor
    width: Tensor

    def __init__(
        self,
        bins: int = 10,
        threshold: float = 0.9,
        min_paths: int = 30,
        smoothing: float = 5.0,
        width_floor: float = 0.05,
        width_fallback: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        for argument, value in (("bins", bins), ("min_paths", min_paths)):
            checked(argument, value, 1)
        for argument, number in (("width_floor", width_floor), ("width_fallback", width_fallback)):
            checked_positive(argument, number)
        checked("smoothing", smoothing, 0.0)
        self.bins, self.threshold, self.min_paths = bins, threshold, min_paths
        self.smoothing, self.width_floor, self.width_fallback = smoothing, width_floor, width_fallback
        self.register_buffer("edges", torch.full((bins - 1,), 0.5))
        self.register_buffer("centre", torch.full((bins,), 0.5))
        self.register_buffer("width", torch.full((bins,), width_fallback))

    @property
    def bands(self) -> ZPDBands:
        """The fitted bands; `bands.at(proficiency)` gives centre and width."""
        return ZPDBands(self.edges, self.centre, self.width)

    def configure(self, num_concepts: int) -> None:
        """Register the difficulty of each concept."""
        self.register_buffer("difficulty", torch.full((num_concepts,), 0.5, device=self.centre.device))

    @torch.no_grad()
    def fit(self, log: Interactions) -> None:
        """Take the concepts' difficulty from the answer logs of training learners."""
        self.difficulty.copy_(concept_difficulty(log, self.difficulty.shape[0], self.smoothing))

    @torch.no_grad()
    def fit_paths(self, rollout: Rollout) -> None:
        """Take the bands from paths of training learners; call `fit` first."""
        bands = estimate_zpd(
            *self._steps(rollout),
            learning_effect(rollout.score_before, rollout.score_after, rollout.score_max),
            self.proficiency(rollout),
            bins=self.bins,
            threshold=self.threshold,
            min_paths=self.min_paths,
            width_floor=self.width_floor,
            width_fallback=self.width_fallback,
            centre_fallback=float(self.difficulty.mean()),
        )
        self.edges.copy_(bands.edges)
        self.centre.copy_(bands.centre)
        self.width.copy_(bands.width)

    @staticmethod
    def proficiency(rollout: Rollout) -> Tensor:
        """Return a, the mean mastery of all concepts before the path, [B]."""
        return rollout.mastery_before.mean(1)

    def forward(self, rollout: Rollout) -> Tensor:
        """Return S_ZPD, [B] in [0, 1]."""
        centre, width = self.bands.at(self.proficiency(rollout))
        return zpd_alignment(*self._steps(rollout), centre, width)

    def _steps(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Return the difficulty of each step, and where it counts, both [B, L]."""
        difficulty, known = step_difficulty(rollout.concept, self.difficulty.to(rollout.concept.device))
        return difficulty, known & rollout.mask
