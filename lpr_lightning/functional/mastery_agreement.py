"""Whether those with the higher mastery are those who answer right later on."""

from __future__ import annotations

import torch
from torch import Tensor


def agreement_by_concept(mastery: Tensor, correct: Tensor, concept: Tensor, num_concepts: int) -> tuple[Tensor, Tensor]:
    """Return, for each concept, the pairs that agree (a tie is half a pair) and all pairs, both [N] float64.

    A pair is two learners of whom one later answered the concept right and the other wrong; it agrees where the first
    had the higher mastery. Agreeing over all pairs is the AUC within the concept.

    Args:
        mastery: of the concept in question, before its answer, [R].
        correct: the later answer, [R]; 0.5 and above counts as right.
        concept: number of the concept, [R] int64.
        num_concepts: N.

    >>> agree, pairs = agreement_by_concept(
    ...     torch.tensor([0.9, 0.5, 0.5, 0.2]), torch.tensor([1, 1, 0, 1]), torch.tensor([0, 0, 0, 1]), 2
    ... )
    >>> agree.tolist(), pairs.tolist()
    ([1.5, 0.0], [2.0, 0.0])
    """
    order = mastery.argsort(stable=True)
    order = order[concept[order].argsort(stable=True)]
    mastery, concept, right = mastery[order], concept[order], (correct[order] >= 0.5).double()
    starts = torch.ones_like(concept, dtype=torch.bool)
    starts[1:] = (concept[1:] != concept[:-1]) | (mastery[1:] != mastery[:-1])
    level = starts.cumsum(0) - 1
    levels = int(starts.sum())
    rights = torch.bincount(level, right, minlength=levels)
    wrongs = torch.bincount(level, 1 - right, minlength=levels)
    its_concept = concept[starts]
    all_rights = torch.bincount(its_concept, rights, minlength=num_concepts)
    all_wrongs = torch.bincount(its_concept, wrongs, minlength=num_concepts)
    earlier_concepts = (all_wrongs.cumsum(0) - all_wrongs)[its_concept]
    lower = wrongs.cumsum(0) - wrongs - earlier_concepts
    agree = torch.bincount(its_concept, rights * (lower + 0.5 * wrongs), minlength=num_concepts)
    return agree, all_rights * all_wrongs


def mastery_agreement(mastery: Tensor, correct: Tensor, concept: Tensor) -> Tensor:
    """Return the share of pairs of learners whose order of mastery their later answers confirm, a scalar in [0, 1].

    The mean over concepts of the AUC within each concept, weighted by its pairs; a concept that everybody answers
    alike has none. 0.5 is chance, and the value where there is no pair at all; NaN if mastery is not finite. Unlike an
    AUC over all answers it cannot be raised by telling easy concepts from hard ones: only learners are compared, on one
    concept at a time.

    Relation to the degree of agreement (DOA; Wang et al. 2020, Neural Cognitive Diagnosis), which asks the same:
    1. DOA compares two learners' answers to the same question, this one to the same concept, whatever the question.
    2. DOA takes the pairs of unequal mastery and asks who answered better; this one takes the pairs of unequal answers
       and counts equal mastery half, so that a tracer has no say in which pairs count.
    3. DOA may use the very answers that mastery was estimated from; here answers come after it.
    4. DOA is the plain mean over concepts; here concepts are weighted by their pairs.
    With one question a concept, one answer a learner, no ties and later answers the two are equal concept by concept.

    Args:
        mastery: of the concept in question, before its answer, [R].
        correct: the later answer, [R]; 0.5 and above counts as right.
        concept: number of the concept, [R] int64, 0 or above.

    >>> mastery_agreement(torch.tensor([0.9, 0.5, 0.2]), torch.tensor([1, 0, 1]), torch.tensor([4, 4, 4]))
    tensor(0.5000)
    """
    if not len(concept):
        return mastery.new_full((), 0.5, dtype=torch.float32)
    if not bool(mastery.isfinite().all()):
        return mastery.new_full((), torch.nan, dtype=torch.float32)
    agree, pairs = agreement_by_concept(mastery, correct, concept, int(concept.max()) + 1)
    return torch.where(pairs.sum() > 0, agree.sum() / pairs.sum().clamp_min(1), 0.5).float()


def first_answers(concept: Tensor, later: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where each learner first answers each concept among the later answers: row, step and concept, [R] each.

    Args:
        concept: of each answer, [B, T, C] int64, -1 where unused.
        later: True on the answers to look at, [B, T] bool.

    >>> concept = torch.tensor([[[0, -1], [1, 0], [1, -1]]])
    >>> row, step, its_concept = first_answers(concept, torch.tensor([[False, True, True]]))
    >>> step.tolist(), its_concept.tolist()
    ([1, 1], [0, 1])
    """
    row, step, place = ((concept >= 0) & later[..., None]).nonzero(as_tuple=True)
    its_concept = concept[row, step, place]
    key = row * (int(concept.max()) + 1 if concept.numel() else 1) + its_concept
    order = key.argsort(stable=True)
    key = key[order]
    first = torch.ones_like(key, dtype=torch.bool)
    first[1:] = key[1:] != key[:-1]
    chosen = order[first]
    return row[chosen], step[chosen], its_concept[chosen]
