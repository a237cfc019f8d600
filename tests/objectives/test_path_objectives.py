from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from rollouts import cut_paths, made_rollout
from torch.nn.functional import pad

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.diversity import ngram_jaccard_diversity
from lpr_lightning.goals import HardExam, Targets
from lpr_lightning.hparams import built, plain
from lpr_lightning.metrics import RolloutMetrics
from lpr_lightning.objectives import (
    GroupDiversity,
    LearningEffect,
    LengthReward,
    Objective,
    SoftGain,
    ZPDAlignment,
)
from lpr_lightning.policies import follow_paths
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import PAD, InteractionBatch, Rollout

ALL: list[Objective] = [
    LearningEffect(),
    SoftGain(least_missing=0.1),
    LengthReward(tolerance=1, penalty=0.3),
    GroupDiversity(n=3),
    ZPDAlignment(bins=4, threshold=0.8),
]


@pytest.fixture
def rollout() -> Rollout:
    generator = torch.Generator().manual_seed(0)
    action = cut_paths(torch.randint(0, 5, (6, 4), generator=generator), torch.tensor([4, 3, 2, 4, 1, 0]))
    return made_rollout(
        action,
        mastery_before=torch.rand(6, 5, generator=generator),
        mastery_after=torch.rand(6, 5, generator=generator),
        targets=torch.rand(6, 5, generator=generator) < 0.7,
        score_before=torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0, 2.0]),
        score_after=torch.tensor([1.0, 0.0, 2.0, 2.0, 2.0, 2.0]),
        score_max=torch.full((6,), 2.0),
        group_size=3,
    )


def ready(objective: Objective) -> Objective:
    objective.configure(num_concepts=5)
    return objective


def padded(rollout: Rollout) -> Rollout:
    """Two steps and one concept more that are none, with answers that are no numbers."""
    session = InteractionBatch(
        concept=pad(rollout.concept, (0, 1, 0, 2), value=PAD),
        item=pad(rollout.session.item, (0, 2), value=PAD),
        correct=pad(rollout.response, (0, 2), value=torch.nan),
        mask=pad(rollout.mask, (0, 2), value=False),
        learner=rollout.learner,
    )
    return replace(
        rollout,
        session=session,
        action=pad(rollout.action, (0, 2), value=PAD),
        predicted=pad(rollout.predicted, (0, 2), value=torch.nan),
        gain=pad(rollout.gain, (0, 2), value=torch.nan),
    )


@pytest.mark.parametrize("objective", ALL, ids=lambda objective: objective.name)
def test_gives_one_finite_number_a_path_whatever_the_padding(objective: Objective, rollout: Rollout) -> None:
    value = ready(objective)(rollout)
    assert value.shape == (6,)
    assert value.isfinite().all()
    torch.testing.assert_close(objective(padded(rollout)), value)


@pytest.mark.parametrize("objective", ALL, ids=lambda objective: objective.name)
def test_takes_paths_without_steps_and_no_paths_at_all(objective: Objective) -> None:
    empty = made_rollout(torch.empty(2, 0, dtype=torch.int64), group_size=2)
    assert ready(objective)(empty).shape == (2,)
    assert objective(empty).isfinite().all()
    assert objective(made_rollout(torch.empty(0, 3, dtype=torch.int64))).shape == (0,)


@pytest.mark.parametrize("objective", ALL, ids=lambda objective: objective.name)
def test_is_rebuilt_from_its_recorded_arguments(objective: Objective) -> None:
    again = built(plain(objective), Objective)
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


def test_soft_gain_is_bounded_by_the_least_missing() -> None:
    full = torch.ones(1, 5)
    fallen = made_rollout(torch.zeros(1, 2, dtype=torch.int64), mastery_before=full, mastery_after=full - 0.2)
    torch.testing.assert_close(SoftGain(least_missing=0.1)(fallen), torch.tensor([-2.0]))


def test_length_reward(rollout: Rollout) -> None:
    torch.testing.assert_close(LengthReward()(rollout), torch.tensor([1.0, -0.25, -0.5, 1.0, -0.75, -1.0]))
    tolerant = LengthReward(tolerance=1, penalty=0.3)(rollout)
    torch.testing.assert_close(tolerant, torch.tensor([1.0, 1.0, -0.3, 1.0, -0.6, -0.9]))


def test_an_episode_that_stops_with_all_mastered_is_not_punished_for_its_length() -> None:
    """As in preset gehrl: ten steps wanted, a threshold of 0.75; these learners master all three after three steps."""
    ladder, goal = Ladder(4, gain=1.0), Targets(HardExam(0.75))
    request = ladder.request(targets=[[0, 1, 2]], length=10)
    long = torch.tensor([[0, 1, 2, *[3] * 7]])
    short = torch.tensor([[0, 1, 2]])
    stopped = follow_paths(ladder, goal, request, long, early_stop=True)
    whole = follow_paths(ladder, goal, request, long)
    gave_up = follow_paths(ladder, goal, request, short)
    assert (stopped.length.tolist(), whole.length.tolist(), gave_up.length.tolist()) == ([3], [10], [3])
    for objective in (LengthReward(), LengthReward(tolerance=0, penalty=5.0), LearningEffect(), SoftGain()):
        assert objective(stopped).tolist() == objective(whole).tolist() == [1.0], objective.name
    torch.testing.assert_close(LengthReward()(gave_up), torch.tensor([-0.6]))
    score = []
    for rollout in (stopped, whole, gave_up):
        metric = RolloutMetrics(bootstrap=0)
        metric.update(rollout)
        score.append(float(metric.compute()["length_score"]))
    assert score == pytest.approx([1.0, 1.0, 0.3])


def test_diversity_compares_actions_within_the_group(rollout: Rollout) -> None:
    value = GroupDiversity()(rollout)
    torch.testing.assert_close(value[:3], ngram_jaccard_diversity(rollout.action[:3], 3))
    torch.testing.assert_close(value[3:], ngram_jaccard_diversity(rollout.action[3:], 3))
    assert GroupDiversity()(replace(rollout, group_size=1)).tolist() == [0.0] * 6


def test_questions_on_one_concept_differ() -> None:
    questions = torch.tensor([[0, 1], [2, 3]])
    same_concept = made_rollout(questions, 1, concept=torch.zeros(2, 2, 1, dtype=torch.int64), group_size=2)
    assert GroupDiversity()(same_concept).tolist() == [1.0, 1.0]


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(SettingError, match="tolerance"):
        LengthReward(tolerance=-1)
    with pytest.raises(SettingError, match="penalty"):
        LengthReward(penalty=-0.1)
    with pytest.raises(SettingError, match="n=0"):
        GroupDiversity(n=0)
    with pytest.raises(SettingError, match="least_missing"):
        SoftGain(least_missing=0.0)


def test_the_smallest_settings_are_allowed() -> None:
    assert GroupDiversity(n=1).n == 1
    assert ZPDAlignment(bins=1, min_paths=1, smoothing=0.0).smoothing == 0


def test_a_band_that_was_not_fitted_lies_in_the_middle() -> None:
    assert ZPDAlignment().edges.tolist() == [0.5] * 9
    assert ZPDAlignment().min_paths == 30
