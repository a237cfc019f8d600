"""Whether mastery puts learners in the order that their later answers confirm, over all learners of a split."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lpr_lightning.functional.mastery_agreement import mastery_agreement


class MasteryAgreement(Metric):
    """Share of pairs of learners, of whom one later answers a concept right and one wrong, that mastery orders so.

    See `functional.mastery_agreement`, also for the relation to DOA. Pairs are made over all batches and processes:
    every row is kept until `compute`, concepts as floating numbers as the rest, since a process without rows gathers
    floating ones. Without any pair it is 0.5.

    >>> metric = MasteryAgreement()
    >>> metric.update(torch.tensor([0.9, 0.5]), torch.tensor([1.0, 1.0]), torch.tensor([0, 0]))
    >>> metric.update(torch.tensor([0.7, 0.8]), torch.tensor([0.0, 0.0]), torch.tensor([0, 1]))
    >>> metric.compute()
    tensor(0.5000)
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    mastery: list[Tensor]
    correct: list[Tensor]
    concept: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for state in ("mastery", "correct", "concept"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, mastery: Tensor, correct: Tensor, concept: Tensor) -> None:
        """Add one row for each learner and concept.

        Args:
            mastery: of the concept, at some point of the learner's history, [R].
            correct: the learner's first answer to the concept after that point, [R].
            concept: its number, [R] int64.
        """
        self.mastery.append(mastery.detach().float())
        self.correct.append(correct.detach().float())
        self.concept.append(concept.detach().float())

    def compute(self) -> Tensor:
        """Return the agreement, a scalar in [0, 1]."""
        if isinstance(self.mastery, list) and not self.mastery:
            return torch.full((), 0.5, device=self.device)
        mastery, correct, concept = (dim_zero_cat(rows).cpu() for rows in (self.mastery, self.correct, self.concept))
        return mastery_agreement(mastery, correct, concept.long()).to(self.device)
