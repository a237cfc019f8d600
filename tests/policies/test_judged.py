"""What paths bring by another simulator than the one they were planned in, and what is kept of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.draws import Draws
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.metrics.log_figures import LogFigures
from lpr_lightning.policies import FixedPaths, RandomTargets, TargetsInTurn
from lpr_lightning.policies.judged import judged_effect
from lpr_lightning.policies.mixed_paths import mixed_paths
from lpr_lightning.protocols import Simulator
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import request_draws
from lpr_lightning.studies.simulator_study import Study, Subject
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import PAD, PathRequest, State


def test_the_effect_is_that_of_the_judge_by_hand() -> None:
    """One step on a target brings 0.4 of 1 in the judge, 0.1 in the model; nothing is left to learn without targets."""
    judge, model = Ladder(2, gain=0.4), Ladder(2, gain=0.1)
    request = judge.request(targets=[[0], []], length=1)
    found = judged_effect(judge, Targets(SoftExam()), request, FixedPaths(torch.tensor([[0], [0]])), model)
    assert float(found[0]) == pytest.approx(0.4)
    assert math.isnan(float(found[1]))


def test_mixed_paths_are_as_long_as_wanted_and_on_targets_where_they_must() -> None:
    planned = torch.tensor([[[0, 1, 0, 1], [1, 1, 1, 1]], [[2, 2, 2, 2], [2, 2, PAD, PAD]]])
    target = torch.tensor([[True, True, False, False], [False, False, True, False]])
    found = mixed_paths(planned, target, torch.tensor([4, 3]), 40, Draws.of(0, 0, torch.arange(2)))
    assert torch.equal(found[0, :2], planned[0])
    assert bool((found[1, :, 3] == PAD).all())
    drawn = found[:, 2:]
    assert bool((drawn[1, 1::4, :3] == 2).all())
    assert int(drawn[0, 0::4].max()) > 1
    same = (drawn[0, 3::4] == planned[0, torch.arange(40) // 4 % 2][3::4]).float().mean()
    assert 0.7 < float(same) < 1


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticLearners:
    found = SyntheticLearners(8, num_learners=60, cache_dir=str(tmp_path_factory.mktemp("data")))
    found.setup()
    return found


@pytest.fixture
def study(data: SyntheticLearners, tmp_path: Path) -> Study:
    examples = PathRequests(length=4, min_distinct=4).examples(data.interactions("test"), "test", 8, 0)
    request = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(request, PathRequest)
    return Study(tmp_path, data, request, "requests", LogFigures((1, 2), 5, 5), paths=12)


def truth_of(data: SyntheticLearners, draws: int = 3) -> Subject:
    truth = data.truth
    return Subject("truth", "true", truth, truth.begin, truth, truth.expected(), draws)


def test_the_true_effect_is_the_mean_over_draws(data: SyntheticLearners, study: Study) -> None:
    truth = truth_of(data)
    found = study.effect("random_targets", RandomTargets(), None, truth)
    draws = request_draws(47, 0, study.request)
    effect = judged_effect(data.truth, study.goal, study.request, RandomTargets(), None, draws, 3)
    assert found["effect"] == pytest.approx(float(effect.mean()))
    assert found["low"] < found["effect"] < found["high"]
    assert found["learners"] == len(study.request)


def test_figures_are_kept_until_what_they_depend_on_changes(data: SyntheticLearners, study: Study) -> None:
    said: list[str] = []
    study, truth = replace(study, say=said.append), truth_of(data)
    first = study.log_figures(truth), study.planned(truth), study.effect("turn", TargetsInTurn(), None, truth)
    assert said == ["answers_truth", "search_truth", "effect_turn_by_truth"]
    second = study.log_figures(truth), study.planned(truth), study.effect("turn", TargetsInTurn(), None, truth)
    assert len(said) == 3
    assert (first[0], first[2]) == (second[0], second[2])
    assert torch.equal(first[1], second[1])
    study.log_figures(replace(truth, key="another"))
    replace(study, key="others").planned(truth)
    assert said[3:] == ["answers_truth", "search_truth"]


def test_the_pool_has_the_paths_of_every_search_and_gains_do_not_depend_on_chunks(
    data: SyntheticLearners, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = truth_of(data)
    pool = study.pool([truth])
    assert pool.shape == (len(study.request), 12, 4)
    assert torch.equal(pool[:, 1], study.planned(truth))
    whole = study.gains(truth, pool)
    monkeypatch.setattr("lpr_lightning.studies.simulator_study.CHUNK", 3)
    torch.testing.assert_close(study.gains(replace(truth, key="another"), pool), whole)
    assert bool((whole[:, 1] > whole[:, 2:].mean(1)).float().mean() > 0.8)


def test_a_policy_looks_into_the_model_it_was_given(data: SyntheticLearners, study: Study) -> None:
    """What begins in the planner and sees the judge's answers: a policy that notes whom it looks into."""

    class Looks(TargetsInTurn):
        seen: list[Simulator] = []  # noqa: RUF012

        def act(self, environment, state: State, concept: Tensor, draws):  # type: ignore[no-untyped-def]
            self.seen.append(environment.simulator)
            return super().act(environment, state, concept, draws)

    truth = truth_of(data)
    policy = Looks()
    study.effect("looks", policy, truth, replace(truth, name="judge", key="judge"))
    assert policy.seen
    assert all(one is truth.planner for one in policy.seen)
