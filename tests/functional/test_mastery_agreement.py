from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lpr_lightning.functional.mastery_agreement import agreement_by_concept, first_answers, mastery_agreement


def example(seed: int, rows: int = 200, concepts: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mastery = (torch.rand(rows, generator=generator) * 12).round() / 12  # many ties
    correct = (torch.rand(rows, generator=generator) < mastery).float()
    return mastery, correct, torch.randint(concepts, (rows,), generator=generator)


def slow_agreement(mastery: Tensor, correct: Tensor, concept: Tensor, num_concepts: int) -> tuple[list[float], ...]:
    m, y, c = mastery.numpy(), correct.numpy(), concept.numpy()
    agree, pairs = np.zeros(num_concepts), np.zeros(num_concepts)
    for a in range(len(m)):
        for b in range(len(m)):
            if c[a] == c[b] and y[a] == 1 and y[b] == 0:
                pairs[c[a]] += 1
                agree[c[a]] += 1.0 if m[a] > m[b] else 0.5 if m[a] == m[b] else 0.0
    return agree.tolist(), pairs.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_matches_all_pairs_one_by_one(seed: int) -> None:
    rows = example(seed)
    expected_agree, expected_pairs = slow_agreement(*rows, num_concepts=9)
    agree, pairs = agreement_by_concept(*rows, num_concepts=9)
    assert agree.tolist() == expected_agree
    assert pairs.tolist() == expected_pairs
    assert float(mastery_agreement(*rows)) == pytest.approx(sum(expected_agree) / sum(expected_pairs))


def test_by_hand() -> None:
    """Concept 0: right at 0.8, 0.4, wrong at 0.6, 0.4: 1 + 1 + 0 + 0.5 of 4. Concept 1: 1 of 1. Concept 2: none."""
    mastery = torch.tensor([0.8, 0.4, 0.6, 0.4, 0.9, 0.1, 0.5])
    correct = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0])
    concept = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    assert float(mastery_agreement(mastery, correct, concept)) == pytest.approx(3.5 / 5)


def test_easy_concepts_do_not_help() -> None:
    """Mastery that knows concepts but not learners is no better than chance; an AUC over all answers would be 0.9."""
    concept = torch.arange(2).repeat_interleave(10)
    correct = torch.tensor([1.0] * 9 + [0.0] + [0.0] * 9 + [1.0])
    assert float(mastery_agreement(torch.where(concept == 0, 0.9, 0.1), correct, concept)) == 0.5


def test_order_of_rows_and_of_concepts_does_not_matter() -> None:
    mastery, correct, concept = example(5)
    order = torch.randperm(len(mastery), generator=torch.Generator().manual_seed(0))
    shuffled = mastery_agreement(mastery[order], correct[order], (6 - concept)[order])
    assert shuffled == mastery_agreement(mastery, correct, concept)


def test_reversed_mastery_gives_the_rest() -> None:
    mastery, correct, concept = example(6)
    there, back = (mastery_agreement(one, correct, concept) for one in (mastery, 1 - mastery))
    assert float(there + back) == pytest.approx(1)


@pytest.mark.parametrize("rows", [0, 3])
def test_without_pairs_it_is_chance(rows: int) -> None:
    nothing = torch.zeros(rows)
    assert float(mastery_agreement(nothing, nothing + 1, torch.arange(rows))) == 0.5


def test_first_later_answers() -> None:
    concept = torch.tensor([[[0, 1], [1, -1], [0, 2], [2, -1]], [[3, -1], [3, -1], [3, -1], [-1, -1]]])
    later = torch.tensor([[False, True, True, True], [False, True, True, False]])
    found = sorted(zip(*(one.tolist() for one in first_answers(concept, later))))
    assert found == [(0, 1, 1), (0, 2, 0), (0, 2, 2), (1, 1, 3)]


def test_no_later_answers() -> None:
    row, step, concept = first_answers(torch.zeros(2, 3, 1, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.bool))
    assert len(row) == len(step) == len(concept) == 0
    assert len(first_answers(torch.empty(2, 0, 1, dtype=torch.int64), torch.empty(2, 0, dtype=torch.bool))[0]) == 0


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_mastery_that_is_not_finite_has_no_agreement(wrong: float) -> None:
    mastery, correct, concept = example(7)
    mastery[3] = wrong
    assert mastery_agreement(mastery, correct, concept).isnan()


def test_a_single_pair_is_a_pair() -> None:
    concept = torch.zeros(2, dtype=torch.int64)
    assert float(mastery_agreement(torch.tensor([0.9, 0.1]), torch.tensor([1.0, 0.0]), concept)) == 1


def test_first_answers_of_more_learners_than_concepts() -> None:
    concept = torch.randint(-1, 2, (9, 5, 2), generator=torch.Generator().manual_seed(0))
    found = sorted(zip(*(one.tolist() for one in first_answers(concept, torch.ones(9, 5, dtype=torch.bool)))))
    expected = []
    for row in range(9):
        for wanted in range(2):
            steps = [step for step in range(5) if wanted in concept[row, step].tolist()]
            expected += [(row, steps[0], wanted)] if steps else []
    assert found == sorted(expected)
