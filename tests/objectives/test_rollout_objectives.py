from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.diversity import ngram_jaccard_diversity
from lpr_lightning.hparams import built, plain
from lpr_lightning.objectives import (
    GroupDiversity,
    LearningEffect,
    LengthReward,
    Objective,
    SoftGain,
    ZPDAlignment,
)
from lpr_lightning.types import Rollout

ALL: list[Objective] = [
    LearningEffect(),
    SoftGain(min_room=0.1),
    LengthReward(tolerance=1, penalty=0.3),
    GroupDiversity(n=3),
    ZPDAlignment(bins=4, threshold=0.8),
]


@pytest.fixture
def rollout() -> Rollout:
    generator = torch.Generator().manual_seed(0)
    path = torch.randint(0, 5, (6, 4), generator=generator)
    path = path.masked_fill(torch.arange(4) >= torch.tensor([4, 3, 2, 4, 1, 0])[:, None], -1)
    return Rollout(
        path=path,
        response=torch.rand(6, 4, generator=generator),
        predicted=torch.rand(6, 4, generator=generator),
        score_before=torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0, 2.0]),
        score_after=torch.tensor([1.0, 0.0, 2.0, 2.0, 2.0, 2.0]),
        score_max=torch.full((6,), 2.0),
        mastery_before=torch.rand(6, 5, generator=generator),
        mastery_after=torch.rand(6, 5, generator=generator),
        targets=torch.rand(6, 5, generator=generator) < 0.7,
        wanted_length=torch.full((6,), 4),
        learner=torch.arange(6),
        group_size=3,
    )


def ready(objective: Objective) -> Objective:
    objective.configure(num_concepts=5)
    return objective


@pytest.mark.parametrize("objective", ALL, ids=lambda objective: objective.name)
def test_gives_one_finite_number_a_path_whatever_the_padding(objective: Objective, rollout: Rollout) -> None:
    value = ready(objective)(rollout)
    assert value.shape == (6,)
    assert value.isfinite().all()
    wide = replace(rollout, path=torch.nn.functional.pad(rollout.path, (0, 2), value=-1))
    torch.testing.assert_close(objective(wide), value)


@pytest.mark.parametrize("objective", ALL, ids=lambda objective: objective.name)
def test_is_rebuilt_from_its_recorded_arguments(objective: Objective) -> None:
    again = built(plain(objective))
    assert type(again) is type(objective)
    assert again.hparams == objective.hparams


def test_names_are_distinct() -> None:
    assert [objective.name for objective in ALL] == ["learning_effect", "soft_gain", "length", "diversity", "zpd"]


def test_learning_effect(rollout: Rollout) -> None:
    assert LearningEffect()(rollout).tolist() == [0.5, -1.0, 0.0, 1.0, 1.0, 0.0]


def test_soft_gain(rollout: Rollout) -> None:
    expected = []
    for before, after, targets in zip(rollout.mastery_before, rollout.mastery_after, rollout.targets, strict=True):
        start, end = before[targets].mean().item(), after[targets].mean().item()
        expected.append((end - start) / (1 - start))
    torch.testing.assert_close(SoftGain()(rollout), torch.tensor(expected))


def test_length_reward(rollout: Rollout) -> None:
    torch.testing.assert_close(LengthReward()(rollout), torch.tensor([1.0, -0.25, -0.5, 1.0, -0.75, -1.0]))
    tolerant = LengthReward(tolerance=1, penalty=0.3)(rollout)
    torch.testing.assert_close(tolerant, torch.tensor([1.0, 1.0, -0.3, 1.0, -0.6, -0.9]))


def test_diversity_compares_within_the_group(rollout: Rollout) -> None:
    value = GroupDiversity()(rollout)
    torch.testing.assert_close(value[:3], ngram_jaccard_diversity(rollout.path[:3], 3))
    torch.testing.assert_close(value[3:], ngram_jaccard_diversity(rollout.path[3:], 3))
    assert GroupDiversity()(replace(rollout, group_size=1)).tolist() == [0.0] * 6


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(SettingError, match="tolerance"):
        LengthReward(tolerance=-1)
    with pytest.raises(SettingError, match="penalty"):
        LengthReward(penalty=-0.1)
    with pytest.raises(SettingError, match="n=0"):
        GroupDiversity(n=0)
    with pytest.raises(SettingError, match="min_room"):
        SoftGain(min_room=0.0)
