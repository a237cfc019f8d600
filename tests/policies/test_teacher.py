"""Demonstrations of every source: random, teachers, searches, and teachers where searches fall short."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from ladder_data import fitted
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.goals import HardExam, SoftExam, Targets
from lpr_lightning.hparams import built, plain
from lpr_lightning.models.ppo import PPO
from lpr_lightning.nets.action_nets import ConceptNetwork
from lpr_lightning.policies import FoundPaths, GeneticSearch, follow_paths
from lpr_lightning.policies.demonstrations import Demonstrations
from lpr_lightning.policies.simple_rules import TargetsInTurn
from lpr_lightning.policies.teacher import Teacher
from lpr_lightning.protocols import Environment
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import PAD, PathRequest, TensorData

CPU = torch.device("cpu")

ENVIRONMENT = Environment(Ladder(3), Targets(HardExam()))
LEFT_EARLY = GeneticSearch(population=2, generations=0, elite=1)
"""A search that mostly falls short."""


@dataclass(frozen=True)
class Requests:
    """Requests as examples, of their wanted lengths."""

    request: PathRequest

    @property
    def sizes(self) -> Tensor:
        return self.request.length

    def batch(self, index: Tensor) -> TensorData:
        return self.request.select(index)


def examples() -> Requests:
    request = Ladder(3).request([[2], [0], [1], [2], [0, 2], [1, 2]], 3)
    return Requests(replace(request, length=torch.tensor([3, 1, 2, 3, 3, 3])))


def found(folder: Path, **settings: Any) -> tuple[Demonstrations, FoundPaths, pd.DataFrame]:
    one = Demonstrations(cache_dir=str(folder), announce=False, **settings)
    paths = one.find(ENVIRONMENT, examples(), "log", CPU)
    (file,) = (folder / "demonstrations").glob("*.parquet")
    return one, paths, pd.read_parquet(file)


def teacher(**settings: Any) -> Teacher:
    torch.manual_seed(0)
    agent = PPO(
        3,
        Ladder(3),
        Targets(SoftExam()),
        net=ConceptNetwork(16, 2, 0),
        learning_rate=1e-2,
        critic_learning_rate=1e-2,
    )
    return Teacher(fitted(agent, 10), **settings)


@pytest.mark.parametrize(
    ("settings", "sources"),
    [
        ({"source": "random"}, {"random"}),
        ({"source": "teacher", "teachers": [Teacher(TargetsInTurn(), 3)]}, {"targets_in_turn"}),
        ({"source": "genetic"}, {"genetic"}),
        ({}, {"greedy", "genetic"}),
    ],
)
def test_the_table_holds_what_was_found_and_effects_are_those_of_the_paths(
    settings: dict[str, Any], sources: set[str], tmp_path: Path
) -> None:
    one, paths, table = found(tmp_path, **settings)
    assert set(one.sources) == sources
    assert set(table["source"]) <= sources
    assert len(table) == int((paths.effect > -torch.inf).sum())
    request = examples().request
    columns = (table[name].tolist() for name in ("request", "effect", "length", "path"))
    for number, expected, length, steps in zip(*columns, strict=True):
        path, index = torch.tensor([list(steps)]), torch.tensor([number])
        taught = follow_paths(*ENVIRONMENT, request.select(index), path)
        effect = learning_effect(taught.score_before, taught.score_after, taught.score_max)
        assert float(effect) == pytest.approx(expected)
        assert length == len(steps) == int(request.length[number])


def test_teachers_are_asked_only_where_the_search_falls_short(tmp_path: Path) -> None:
    agent = teacher(samples=3)
    settings: dict[str, Any] = {"searches": [LEFT_EARLY], "paths_per_search": 1}
    _, alone, _ = found(tmp_path / "alone", source="genetic", **settings)
    one, both, table = found(tmp_path / "both", source="hybrid", teachers=[agent], **settings)
    assert one.sources == ["genetic", "PPO"]
    short = alone.effect[:, 0] < one.enough
    assert 0 < int(short.sum()) < len(short)
    assert torch.equal(both.effect[:, 0], alone.effect[:, 0])
    assert bool((both.effect[~short, 1] == -torch.inf).all())
    assert bool((both.path[~short, 1] == PAD).all())
    climbed = torch.tensor([0, 3])  # to the top in three steps, which this teacher has learned
    assert both.path[climbed[short[climbed]], 1].tolist() == [[0, 1, 2]] * int(short[climbed].sum())
    assert set(table.loc[table["source"] == "PPO", "request"]) <= set(short.nonzero().flatten().tolist())
    assert float(both.effect.amax(1).mean()) > float(alone.effect.amax(1).mean())


def test_a_teacher_that_learned_more_is_asked_again(tmp_path: Path) -> None:
    agent = teacher()
    settings: dict[str, Any] = {"source": "teacher", "cache_dir": str(tmp_path), "announce": False}
    Demonstrations(teachers=[agent], **settings).find(ENVIRONMENT, examples(), "log", CPU)
    Demonstrations(teachers=[agent], **settings).find(ENVIRONMENT, examples(), "log", CPU)
    assert len(list((tmp_path / "demonstrations").glob("*.safetensors"))) == 1
    with torch.no_grad():
        next(iter(agent.weights().values())).add_(1)
    Demonstrations(teachers=[agent], **settings).find(ENVIRONMENT, examples(), "log", CPU)
    assert len(list((tmp_path / "demonstrations").glob("*.safetensors"))) == 2


def test_a_teacher_is_read_from_its_checkpoint(tmp_path: Path) -> None:
    agent = teacher(samples=0)
    policy = agent.policy
    assert isinstance(policy, PPO)
    policy.trainer.save_checkpoint(tmp_path / "ppo.ckpt")
    read = Teacher(str(tmp_path / "ppo.ckpt"), samples=0)
    assert read.name == "PPO"
    request = examples().request
    assert torch.equal(read.search(ENVIRONMENT, request).path, agent.search(ENVIRONMENT, request).path)
    described = plain(Demonstrations(source="teacher", teachers=[read]))
    assert isinstance(described, dict)
    assert built(described, Demonstrations) == Demonstrations(source="teacher", teachers=[read])


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"source": "paper"}, "source"),
        ({"source": "hybrid"}, "teachers"),
        ({"source": "genetic", "teachers": [Teacher(TargetsInTurn())]}, "teachers"),
        ({"source": "random", "searches": [LEFT_EARLY]}, "searches"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingError, match=name):
        Demonstrations(**settings)
