from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rollouts import cut_paths, made_rollout

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.zpd import concept_difficulty
from lpr_lightning.objectives import ZPDAlignment
from lpr_lightning.types import Interactions, Rollout


def random_rollout(seed: int, rows: int = 300) -> Rollout:
    generator = torch.Generator().manual_seed(seed)
    action = torch.randint(0, 6, (rows, 4), generator=generator)
    before = 0.49 * torch.rand(rows, 6, generator=generator)
    return made_rollout(cut_paths(action, torch.randint(0, 5, (rows,), generator=generator)), 6, mastery_before=before)


LOG = Interactions.from_lists([[(0, 1), (1, 0), (2, 1), (2, 0)], [(3, 1), (4, 0), (5, 1), (5, 1)]])


def fitted(bins: int = 3) -> ZPDAlignment:
    objective = ZPDAlignment(bins=bins)
    objective.configure(num_concepts=6)
    objective.fit(LOG)
    objective.fit_paths(random_rollout(0))
    return objective


def test_matches_numpy_on_one_bin() -> None:
    """Every path teaches all there is, so that the band is that of all steps."""
    source, rollout = random_rollout(0), random_rollout(1, rows=40)
    difficulty = concept_difficulty(LOG, 6).double().numpy()
    met = [difficulty[concept] for row in source.action.tolist() for concept in row if concept >= 0]
    centre, width = np.mean(met), max(np.std(met), 0.05)
    expected = []
    for row in rollout.action.tolist():
        kernel = [np.exp(-((difficulty[concept] - centre) ** 2) / (2 * width**2)) for concept in row if concept >= 0]
        expected.append(np.mean(kernel) if kernel else 0.0)
    np.testing.assert_allclose(fitted(bins=1)(rollout).numpy(), expected, rtol=1e-4)


def test_a_step_is_as_hard_as_its_concepts_on_average() -> None:
    """Difficulties 0.2, 0.6, 0.4 against a band at 0.4 of width 0.1: a step on 0 and 1 lies in its middle."""
    objective = ZPDAlignment(bins=1)
    objective.configure(num_concepts=3)
    objective.difficulty.copy_(torch.tensor([0.2, 0.6, 0.4]))
    objective.centre.fill_(0.4)
    concept = torch.tensor([[[0, 1], [-1, -1], [2, -1]], [[0, -1], [1, -1], [-1, -1]]])
    questions = torch.tensor([[0, 1, 2], [3, 4, -1]])  # question 1 has no concept and does not count
    value = objective(made_rollout(questions, 3, concept=concept))
    torch.testing.assert_close(value, torch.tensor([1.0, np.exp(-2.0)], dtype=torch.float32))


def test_without_good_paths_the_band_lies_at_the_mean_difficulty() -> None:
    objective = ZPDAlignment(bins=2)
    objective.configure(num_concepts=6)
    objective.fit(LOG)
    idle = random_rollout(0)
    objective.fit_paths(replace(idle, score_after=idle.score_before))
    torch.testing.assert_close(objective.centre, objective.difficulty.mean().expand(2))
    assert objective.width.tolist() == pytest.approx([0.1, 0.1])


def test_fitted_state_travels_with_the_state_dict() -> None:
    objective, rollout = fitted(), random_rollout(2, rows=20)
    again = ZPDAlignment(bins=3)
    again.configure(num_concepts=6)
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again(rollout), objective(rollout))


def test_single_bin_needs_no_edges() -> None:
    assert fitted(bins=1)(random_rollout(3, rows=5)).isfinite().all()


def test_unfitted_is_the_same_for_every_path() -> None:
    objective = ZPDAlignment()
    objective.configure(num_concepts=6)
    rollout = random_rollout(4, rows=20)
    assert torch.equal(objective(rollout), (rollout.length > 0).float())


@pytest.mark.parametrize(
    "setting", [{"bins": 0}, {"min_paths": 0}, {"width_floor": 0.0}, {"width_fallback": -1.0}, {"smoothing": -1.0}]
)
def test_wrong_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))):
        ZPDAlignment(**setting)  # type: ignore[arg-type]
