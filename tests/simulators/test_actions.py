"""Actions as vectors: the nearest one, exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.simulators.actions import ConceptActions, QuestionActions


def bank(count: int = 40, width: int = 6) -> QuestionActions:
    actions = QuestionActions(count)
    actions.embed(torch.randn(count, width, generator=torch.Generator().manual_seed(0)))
    return actions


def test_the_nearest_are_those_of_a_loop_over_the_bank() -> None:
    actions, wanted = bank(), torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(1))
    assert actions.vectors is not None
    vectors = actions.vectors.numpy()
    found = actions.nearest(wanted, k=3)
    for row in range(3):
        for place in range(2):
            vector = wanted[row, place].numpy()
            cosine = [float(one @ vector / np.linalg.norm(one) / np.linalg.norm(vector)) for one in vectors]
            assert found[row, place].tolist() == sorted(range(40), key=lambda one: -cosine[one])[:3]
    assert torch.equal(actions.nearest(wanted), found[..., :1])
    assert torch.equal(actions.nearest(7 * wanted), found[..., :1])


def test_what_is_not_allowed_is_never_the_nearest() -> None:
    actions, wanted = bank(), torch.randn(5, 6)
    allowed = torch.ones(5, 40, dtype=torch.bool).scatter(1, actions.nearest(wanted), False)
    assert torch.equal(actions.nearest(wanted, allowed=allowed), actions.nearest(wanted, k=2)[:, 1:])


def test_vectors_stay_in_checkpoints() -> None:
    saved, fresh = bank(), QuestionActions(40)
    fresh.load_state_dict(saved.state_dict())
    wanted = torch.randn(2, 6)
    assert torch.equal(fresh.nearest(wanted), saved.nearest(wanted))
    assert "vectors" not in QuestionActions(40).state_dict()


@pytest.mark.parametrize("wrong", [torch.randn(3, 2), torch.zeros(2, 2), torch.full((2, 2), torch.nan)])
def test_vectors_that_cannot_be_used_are_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(SettingError, match="vectors"):
        ConceptActions(2).embed(wrong)


def test_non_finite_actions_are_refused() -> None:
    with pytest.raises(SettingError, match="finite"):
        bank().nearest(torch.tensor([[torch.nan] * 6]))
    with pytest.raises(SettingError, match="embed"):
        ConceptActions(2).nearest(torch.ones(1, 2))
    with pytest.raises(SettingError, match="number of actions"):
        bank().nearest(torch.ones(1, 6), k=41)
