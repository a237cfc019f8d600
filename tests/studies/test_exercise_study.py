"""Sessions judged once, kept, and scored as appendix D says."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import SettingError
from lpr_lightning.policies import HistoricalAnswers, RandomPaths
from lpr_lightning.protocols import Goal
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.studies.exercise_methods import GOALS, bank_of, goal_named
from lpr_lightning.studies.exercise_study import SEED, ExerciseStudy, Judge, Method, followed, mastery_path
from lpr_lightning.tasks.exercise_requests import ExerciseRequests
from lpr_lightning.types import PathRequest


@pytest.fixture
def study(tmp_path: Path) -> ExerciseStudy:
    data = SyntheticLearners(num_concepts=6, num_learners=40, answers=(8, 20), cache_dir=str(tmp_path / "data"))
    data.setup("fit")
    examples = ExerciseRequests(3, 5, starts=None).examples(data.interactions("test"), "test", 6, 0)
    request = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(request, PathRequest)
    return ExerciseStudy(tmp_path / "out", data, request, "key")


def truth(study: ExerciseStudy, episodes: int = 1) -> Judge:
    data = study.data
    assert isinstance(data, SyntheticLearners)
    learners = copy.deepcopy(data.truth)
    learners.action_set = bank_of(data)
    return Judge("truth", "t", learners, episodes)


@pytest.mark.parametrize("name", GOALS)
def test_scores_are_those_of_the_episode(study: ExerciseStudy, name: str) -> None:
    goal: Goal = goal_named(name, study.data)
    judge, method = truth(study), Method("random", "r", RandomPaths())
    found = study.values(method, goal, name, judge)
    draws = request_draws(SEED, 0, study.request)
    taught = rollout(judge.simulator, goal, study.request, RandomPaths(), draws)
    torch.testing.assert_close(found["gain"], (taught.score_after - taught.score_before) / taught.score_max)
    torch.testing.assert_close(found["attainable"], 1 - taught.score_before / taught.score_max)
    before, after, chosen = followed(judge.simulator, goal, study.request, taught.session)
    torch.testing.assert_close(before, taught.mastery_before)
    torch.testing.assert_close(after, taught.mastery_after)
    path = mastery_path(judge.simulator, study.request, taught.session)
    torch.testing.assert_close(path[:, -1], after)
    gains = (after - before).gather(1, chosen.clamp_min(0)).mean(1)
    if name != "all":
        torch.testing.assert_close(found["released"], gains)


def test_figures_are_kept_and_anew_where_something_changed(study: ExerciseStudy) -> None:
    goal, judge = goal_named("practised", study.data), truth(study, episodes=3)
    said: list[str] = []
    study = ExerciseStudy(study.out, study.data, study.request, study.key, said.append)
    first = study.values(Method("random", "r", RandomPaths()), goal, "practised", judge)
    again = study.values(Method("random", "r", RandomPaths()), goal, "practised", judge)
    assert len(said) == 1
    assert all(torch.equal(first[name], again[name]) for name in first)
    study.values(Method("random", "other", RandomPaths(1)), goal, "practised", judge)
    assert len(said) == 2
    figures = study.figures([first, again], resamples=20)
    assert figures["gain"] == pytest.approx(float(first["gain"].mean()), abs=1e-6)
    assert figures["seed_error"] == 0
    assert figures["seeds"] == 2
    assert study.over([first], [again], 10) == (0.0, 0.0, 0.0)


def test_history_as_it_was_is_evidence(study: ExerciseStudy) -> None:
    """By the truth, the gain of what really happened is that of the log itself."""
    goal, judge = goal_named("all", study.data), truth(study)
    found = study.values(Method("historical", "h", HistoricalAnswers(), real=True), goal, "all", judge)
    data, request = study.data, study.request
    log = data.interactions("test")
    row = torch.tensor([log.learner.tolist().index(one) for one in request.learner.tolist()])
    lengths = request.history.lengths
    mastery = []
    for extra in (0, 3):
        history = log.batch(row).first(lengths + extra)
        state = judge.simulator.start(
            PathRequest(history, request.targets, request.length, request.learner, request.row)
        )
        mastery.append(judge.simulator.mastery(state).mean(1))
    torch.testing.assert_close(found["gain"], mastery[1] - mastery[0])


def test_unknown_goals_are_refused(study: ExerciseStudy) -> None:
    with pytest.raises(SettingError, match="weakest"):
        goal_named("strongest", study.data)
