from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from rollouts import made_rollout

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import plain
from lpr_lightning.objectives import LearningEffect, LengthReward, Objective, Objectives, ZPDAlignment
from lpr_lightning.types import Interactions, Rollout

ROLLOUT = made_rollout(torch.tensor([[0, 1], [2, -1]]), 3, mastery_after=torch.tensor([[1.0, 1.0, 0.0], [0.0] * 3]))


class Named(Objective):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, rollout: Rollout) -> torch.Tensor:
        return rollout.score_after


def test_scores_by_name_and_in_order() -> None:
    objectives = Objectives([LengthReward(penalty=0.5), LearningEffect(), LengthReward(penalty=0.25)])
    assert objectives.names == list(objectives) == ["length", "learning_effect", "length_2"]
    found = objectives(ROLLOUT)
    assert list(found) == objectives.names
    assert found["length"].tolist() == [1.0, -0.5]
    assert found["length_2"].tolist() == [1.0, -0.25]
    torch.testing.assert_close(found["learning_effect"], torch.tensor([2 / 3, 0.0]))


def test_is_a_mapping_of_names() -> None:
    parts = [LearningEffect(), ZPDAlignment()]
    objectives = Objectives(parts)
    assert len(objectives) == 2
    assert list(objectives.values()) == parts
    assert list(objectives.items()) == [("learning_effect", parts[0]), ("zpd", parts[1])]
    assert objectives["zpd"] is parts[1]
    assert "zpd" in objectives
    assert "length" not in objectives


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a", "a", "a"], ["a", "a_2", "a_3"]),
        (["a_2", "a", "a"], ["a_2", "a", "a_3"]),
        (["a", "a", "a_2"], ["a", "a_2", "a_2_2"]),
    ],
)
def test_names_are_unique(given: list[str], expected: list[str]) -> None:
    assert Objectives([Named(name) for name in given]).names == expected


def test_is_built_from_descriptions() -> None:
    described = plain([ZPDAlignment(bins=3), LengthReward(tolerance=2)])
    assert isinstance(described, list)
    objectives = Objectives([one for one in described if isinstance(one, dict)])
    assert objectives.names == ["zpd", "length"]
    assert objectives["zpd"].hparams["bins"] == 3
    assert objectives["length"].hparams["tolerance"] == 2


def fitted() -> Objectives:
    objectives = Objectives([ZPDAlignment(bins=1, min_paths=1), LearningEffect(), ZPDAlignment(bins=2, min_paths=1)])
    objectives.configure(num_concepts=3)
    objectives.fit(Interactions.from_lists([[(0, 0), (1, 1), (2, 1), (2, 0)]]))
    objectives.fit_paths(ROLLOUT)
    return objectives


def test_fits_every_objective() -> None:
    expected = ZPDAlignment(bins=2, min_paths=1)
    expected.configure(3)
    expected.fit(Interactions.from_lists([[(0, 0), (1, 1), (2, 1), (2, 0)]]))
    expected.fit_paths(ROLLOUT)
    got = fitted()["zpd_2"]
    for name, value in expected.state_dict().items():
        assert torch.equal(got.state_dict()[name], value), name
    assert torch.unique(expected.state_dict()["difficulty"]).numel() == 3


def test_the_state_dict_goes_by_the_names() -> None:
    objectives = fitted()
    buffers = ("centre", "difficulty", "edges", "width")
    assert sorted(objectives.state_dict()) == [f"{name}.{b}" for name in ("zpd", "zpd_2") for b in buffers]
    again = Objectives([ZPDAlignment(bins=1), LearningEffect(), ZPDAlignment(bins=2)])
    again.configure(num_concepts=3)
    assert not torch.equal(again(ROLLOUT)["zpd"], objectives(ROLLOUT)["zpd"])
    again.load_state_dict(objectives.state_dict())
    for name, value in objectives(ROLLOUT).items():
        assert torch.equal(again(ROLLOUT)[name], value)


def test_a_copy_is_independent() -> None:
    objectives = fitted()
    copied = deepcopy(objectives)
    assert copied["zpd"] is not objectives["zpd"]
    assert copied["zpd"] is dict(copied.named_children())["zpd"]


@pytest.mark.parametrize("name", ["two.parts", "training", "names", ""])
def test_unusable_names_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match=r"rename Named\.name"):
        Objectives([Named(name)])


def test_what_is_no_objective_is_refused() -> None:
    with pytest.raises(SettingError, match="Objective"):
        Objectives([torch.nn.Identity()])  # type: ignore[list-item]
