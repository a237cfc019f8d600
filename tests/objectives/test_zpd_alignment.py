from __future__ import annotations

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.zpd import concept_difficulty, estimate_zpd, zpd_alignment
from lpr_lightning.objectives import ZPDAlignment
from lpr_lightning.types import Interactions, Rollout


def make_rollout(seed: int, rows: int = 300) -> Rollout:
    generator = torch.Generator().manual_seed(seed)
    before = torch.randint(0, 3, (rows,), generator=generator).float()
    return Rollout(
        path=torch.randint(0, 6, (rows, 4), generator=generator),
        response=torch.zeros(rows, 4),
        predicted=torch.zeros(rows, 4),
        score_before=before,
        score_after=torch.full((rows,), 3.0),
        score_max=torch.full((rows,), 3.0),
        mastery_before=torch.rand(rows, 6, generator=generator),
        mastery_after=torch.ones(rows, 6),
        targets=torch.ones(rows, 6, dtype=torch.bool),
        wanted_length=torch.full((rows,), 4),
        learner=torch.arange(rows),
    )


LOG = Interactions.from_lists([[(0, 1), (1, 0), (2, 1), (2, 0)], [(3, 1), (4, 0), (5, 1), (5, 1)]])


def fitted(bins: int = 3) -> ZPDAlignment:
    objective = ZPDAlignment(bins=bins)
    objective.configure(num_concepts=6)
    objective.fit(LOG)
    objective.fit_paths(make_rollout(0))
    return objective


def test_is_the_functions_on_fitted_buffers() -> None:
    objective, source, rollout = fitted(), make_rollout(0), make_rollout(1, rows=40)
    difficulty = concept_difficulty(LOG, 6)
    bands = estimate_zpd(source.path, torch.ones(300), source.mastery_before.mean(1), difficulty, bins=3)
    torch.testing.assert_close(objective.bands, bands)
    expected = zpd_alignment(rollout.path, difficulty, *bands.at(rollout.mastery_before.mean(1)))
    torch.testing.assert_close(objective(rollout), expected)


def test_fitted_state_travels_with_the_state_dict() -> None:
    objective, rollout = fitted(), make_rollout(2, rows=20)
    again = ZPDAlignment(bins=3)
    again.configure(num_concepts=6)
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again(rollout), objective(rollout))


def test_single_bin_needs_no_edges() -> None:
    assert fitted(bins=1)(make_rollout(3, rows=5)).isfinite().all()


def test_unfitted_is_the_same_for_every_path() -> None:
    objective = ZPDAlignment()
    objective.configure(num_concepts=6)
    assert torch.equal(objective(make_rollout(4, rows=7)), torch.ones(7))


@pytest.mark.parametrize(
    "setting", [{"bins": 0}, {"min_paths": 0}, {"width_floor": 0.0}, {"width_fallback": -1.0}, {"smoothing": -1.0}]
)
def test_wrong_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))):
        ZPDAlignment(**setting)  # type: ignore[arg-type]
