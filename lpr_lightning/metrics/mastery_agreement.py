"""Whether mastery puts learners in the order that their later answers confirm, over all learners of a split."""

from __future__ import annotations

from torch import Tensor

from lpr_lightning.functional.mastery_agreement import mastery_agreement
from lpr_lightning.metrics.row_metric import RowMetric


class MasteryAgreement(RowMetric):
    """Share of pairs of learners, of whom one later answers a concept right and one wrong, that mastery orders so.

    See `functional.mastery_agreement`, also for the relation to DOA. Pairs are made over all batches and processes.
    Without any pair it is 0.5.

    >>> import torch
    >>> metric = MasteryAgreement()
    >>> metric.update(torch.tensor([0.9, 0.5]), torch.tensor([1.0, 1.0]), torch.tensor([0, 0]))
    >>> metric.update(torch.tensor([0.7, 0.8]), torch.tensor([0.0, 0.0]), torch.tensor([0, 1]))
    >>> metric.compute()
    tensor(0.5000)
    """

    higher_is_better = True

    def __init__(self) -> None:
        super().__init__(columns=3)

    def update(self, mastery: Tensor, correct: Tensor, concept: Tensor) -> None:
        """Add one row for each learner and concept.

        Args:
            mastery: of the concept, at some point of the learner's history, [R].
            correct: the learner's first answer to the concept after that point, [R].
            concept: its number, [R] int64.
        """
        self.store(mastery, correct, concept)

    def compute(self) -> Tensor:
        """Return the agreement, a scalar in [0, 1]."""
        mastery, correct, concept = self.rows().cpu().unbind(1)
        return mastery_agreement(mastery, correct, concept.long()).to(self.device)
