"""Combinations of concepts are found, each once."""

from __future__ import annotations

import torch

from lpr_lightning.nets.concept_sets import concept_sets, mean_rows


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
