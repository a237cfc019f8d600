"""Combinations of concepts are found, each once; rows of a table are averaged over those that are real."""

from __future__ import annotations

import torch

from lpr_lightning.nets.concept_rows import answer_rows, concept_sets, mean_rows


def test_every_row_finds_its_combination() -> None:
    generator = torch.Generator().manual_seed(0)
    concept = torch.randint(-1, 5, (200, 3), generator=generator)
    correct = torch.randint(2, (200,), generator=generator).float()
    sets, rows = concept_sets(concept, 5, correct)
    assert rows is not None
    assert len(sets) == len({tuple(row) for row in sets.tolist()})
    torch.testing.assert_close(sets[rows], torch.cat([concept, correct.long()[:, None]], 1))


def test_where_there_are_too_many_to_number_the_rows_stay_as_they_are() -> None:
    concept = torch.randint(-1, 10**6, (9, 4), generator=torch.Generator().manual_seed(0))
    sets, rows = concept_sets(concept, 10**6)
    assert rows is None
    assert torch.equal(sets, concept)
    torch.testing.assert_close(
        mean_rows(torch.arange(10.0**6)[:, None], concept.clamp_min(0))[:, 0], concept.clamp_min(0).float().mean(1)
    )


def test_answers_are_means_over_concepts_between_wrong_and_right() -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    for several in (1, 3):
        concept = torch.randint(-1, 5, (4, 6, several), generator=generator)
        soft = torch.rand(4, 6, generator=generator, dtype=torch.float64)
        for correct in (soft, soft.round()):
            rows = answer_rows(table, concept, correct)
            for place in [(row, step) for row in range(4) for step in range(6)]:
                real = [int(one) for one in concept[place] if one >= 0]
                each = [(1 - correct[place]) * table[one] + correct[place] * table[one + 5] for one in real]
                expected = torch.stack(each).mean(0) if each else torch.zeros(3, dtype=torch.float64)
                torch.testing.assert_close(rows[place], expected)


def test_gradients_reach_answers_even_where_they_are_certain() -> None:
    table, correct = torch.tensor([[1.0], [4.0]]), torch.tensor([0.0, 1.0], requires_grad=True)
    rows = answer_rows(table, torch.zeros(2, 1, dtype=torch.int64), correct)
    assert torch.autograd.grad(rows.sum(), correct)[0].tolist() == [3.0, 3.0]


def test_gradients_of_a_mean_leave_out_what_is_unused() -> None:
    for concept, expected in (([[0, 1], [1, -1]], [0.5, 1.5, 0.0]), ([[2], [-1]], [0.0, 0.0, 1.0])):
        table = torch.zeros(3, 1, requires_grad=True)
        (gradient,) = torch.autograd.grad(mean_rows(table, torch.tensor(concept)).sum(), table)
        assert gradient[:, 0].tolist() == expected
