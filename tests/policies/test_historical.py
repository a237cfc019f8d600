"""What learners really did next, from their logs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import AllConcepts, SoftExam
from lpr_lightning.policies import HistoricalAnswers
from lpr_lightning.policies.historical import every_log, next_answers
from lpr_lightning.protocols import Environment
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.tasks.exercise_requests import ExerciseRequests
from lpr_lightning.types import PathRequest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticLearners:
    folder = tmp_path_factory.mktemp("data")
    data = SyntheticLearners(num_concepts=6, num_learners=40, answers=(8, 20), cache_dir=str(folder))
    data.setup("fit")
    return data


def requests(data: SyntheticLearners, length: int = 4) -> PathRequest:
    examples = ExerciseRequests(length, 5, starts=None).examples(data.interactions("test"), "test", 6, 0)
    request = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(request, PathRequest)
    return request


def test_the_path_is_what_comes_next_in_the_log(data: SyntheticLearners) -> None:
    request, policy, truth = requests(data), HistoricalAnswers(), data.truth
    policy.connect(data)
    truth.action_set = QuestionActions(data.num_items)
    truth.action_set.connect(data)
    taught = rollout(truth, AllConcepts(SoftExam()), request, policy)
    log = data.interactions("test")
    for row, learner in enumerate(request.learner.tolist()):
        place = log.learner.tolist().index(learner)
        first = int(log.offsets[place] + request.history.lengths[row])
        assert taught.action[row].tolist() == log.item[first : first + 4].tolist()
    real = next_answers(every_log(data), request)
    assert torch.equal(real.item, taught.action)
    assert not torch.equal(real.correct, taught.response)


def test_paths_end_with_the_log_and_strangers_have_none(data: SyntheticLearners) -> None:
    request = requests(data, length=3).select(torch.tensor([0, 1]))
    request = replace(request, length=torch.tensor([500, 3]), learner=torch.tensor([int(request.learner[0]), -1]))
    later = next_answers(every_log(data), request)
    log = data.interactions("test")
    whole = int(log.lengths[log.learner.tolist().index(int(request.learner[0]))])
    assert later.lengths.tolist() == [whole - int(request.history.lengths[0]), 0]


def test_cut_histories_and_missing_data_are_refused(data: SyntheticLearners, tmp_path: Path) -> None:
    request = requests(data)
    with pytest.raises(SettingError, match="connect"):
        HistoricalAnswers().begin(Environment(data.truth, AllConcepts()), request)
    later = replace(request, history=request.history.select(torch.arange(len(request)).roll(1)))
    with pytest.raises(SettingError, match="history"):
        next_answers(every_log(data), later)
