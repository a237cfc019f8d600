"""Concept mastery as the mean success over a concept's questions."""

from __future__ import annotations

from torch import Tensor


def mean_over_questions(probability: Tensor, question: Tensor, group: Tensor, num_groups: int) -> Tensor:
    """Return what each group of questions is solved with on average (eq. 14 of ExRec, Ozyurt et al. 2025).

    Args:
        probability: Success probability of every question, [..., Q].
        question: Question of each (question, group) pair, [P] int64.
        group: Group of each pair, [P] int64; a question may be in several.
        num_groups: Number of groups.

    Returns:
        Means [..., G]; 0 for a group without questions.

    >>> import torch
    >>> question, group = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 2])
    >>> mean_over_questions(torch.tensor([[0.2, 0.6]]), question, group, 3)
    tensor([[0.4000, 0.0000, 0.6000]])
    """
    total = probability.new_zeros(*probability.shape[:-1], num_groups)
    total = total.index_add(-1, group, probability.index_select(-1, question))
    size = probability.new_zeros(num_groups).index_add(0, group, probability.new_ones(len(group)))
    return total / size.clamp_min(1)
