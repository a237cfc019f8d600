"""Demonstrations are the searches' best paths, found once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.goals import HardExam, Targets
from lpr_lightning.hparams import built, plain
from lpr_lightning.policies import FoundPaths, GreedySearch, follow_paths
from lpr_lightning.policies import demonstrations as module
from lpr_lightning.policies.demonstrations import Demonstrations
from lpr_lightning.policies.search import Learners, Search
from lpr_lightning.protocols import Environment
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import PAD, InteractionBatch, PathRequest, TensorData

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Requests:
    """Requests as examples, of their wanted lengths."""

    request: PathRequest

    @property
    def sizes(self) -> Tensor:
        return self.request.length

    def batch(self, index: Tensor) -> TensorData:
        return self.request.select(index)


class Histories(Requests):
    def batch(self, index: Tensor) -> TensorData:
        return InteractionBatch.empty(len(index))


@dataclass(frozen=True, kw_only=True)
class CountedSearch(GreedySearch):
    """A greedy search that counts how many learners it was asked for."""

    asked = 0

    def find(self, environment: Environment, learners: Learners, top: int) -> FoundPaths:
        type(self).asked += len(learners)
        return super().find(environment, learners, top)


def examples() -> Requests:
    request = Ladder(3).request([[0], [0, 1], [2], [1, 2], [0, 2]], 3)
    return Requests(replace(request, length=torch.tensor([2, 3, 1, 3, 2])))


def environment(threshold: float = 0.5) -> Environment:
    return Environment(Ladder(3), Targets(HardExam(threshold)))


def demonstrations(folder: Path, searches: list[Search] | None = None, count: int = 2) -> Demonstrations:
    return Demonstrations(searches or [CountedSearch()], count, str(folder), announce=False)


def test_they_are_the_paths_of_the_searches_in_the_order_of_the_requests(tmp_path: Path) -> None:
    found = demonstrations(tmp_path).find(environment(), examples(), "log", CPU)
    assert found.path.shape == (5, 2, 3)
    request = examples().request
    for row in range(5):
        one = GreedySearch().search(environment(), request.select(torch.tensor([row])), top=2)
        steps = int(request.length[row])
        assert torch.equal(found.path[row, :, :steps], one.path[0])
        assert bool((found.path[row, :, steps:] == PAD).all())
        assert torch.equal(found.effect[row], one.effect[0])


def test_their_effects_are_those_of_following_them(tmp_path: Path) -> None:
    request = examples().request
    found = demonstrations(tmp_path).find(environment(), examples(), "log", CPU)
    taught = follow_paths(Ladder(3), Targets(HardExam()), request, found.path.flatten(0, 1), group_size=2)
    effect = learning_effect(taught.score_before, taught.score_after, taught.score_max)
    torch.testing.assert_close(found.effect.flatten(), effect)


def test_a_second_time_they_are_read_and_not_searched(tmp_path: Path) -> None:
    first = demonstrations(tmp_path).find(environment(), examples(), "log", CPU)
    asked = CountedSearch.asked
    again = demonstrations(tmp_path).find(environment(), examples(), "log", CPU)
    assert CountedSearch.asked == asked
    assert torch.equal(first.path, again.path)
    assert torch.equal(first.effect, again.effect)


@pytest.mark.parametrize("change", ["data", "goal", "simulator", "count", "searches"])
def test_whatever_they_depend_on_they_are_searched_anew_for(tmp_path: Path, change: str) -> None:
    demonstrations(tmp_path).find(environment(), examples(), "log", CPU)
    goal = environment(0.75) if change == "goal" else environment()
    goal = Environment(Ladder(3, gain=1.0), goal.goal) if change == "simulator" else goal
    searches: list[Search] | None = [CountedSearch(max_rows=9)] if change == "searches" else None
    other = demonstrations(tmp_path, searches, 1 if change == "count" else 2)
    other.find(goal, examples(), "other" if change == "data" else "log", CPU)
    assert len(list((tmp_path / "demonstrations").glob("*.safetensors"))) == 2


def test_a_broken_file_is_replaced(tmp_path: Path) -> None:
    first = demonstrations(tmp_path).find(environment(), examples(), "log", CPU)
    (file,) = (tmp_path / "demonstrations").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:20])
    again = demonstrations(tmp_path).find(environment(), examples(), "log", CPU)
    assert torch.equal(first.path, again.path)
    assert file.stat().st_size > 20


def test_how_many_are_searched_at_once_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Demonstrations(None, 2, str(tmp_path / "whole"), announce=False).find(environment(), examples(), 0, CPU)
    monkeypatch.setattr(module, "CHUNK", 2)
    parts = Demonstrations(None, 2, str(tmp_path / "parts"), announce=False).find(environment(), examples(), 0, CPU)
    assert torch.equal(whole.path, parts.path)
    assert torch.equal(whole.effect, parts.effect)


def test_equal_paths_of_several_searches_count_once(tmp_path: Path) -> None:
    searches: list[Search] = [GreedySearch(), GreedySearch(max_rows=9)]
    found = demonstrations(tmp_path, searches).find(environment(), examples(), "log", CPU)
    assert found.path.shape == (5, 4, 3)
    assert bool((found.path[:, 2:] == PAD).all())
    assert bool((found.effect[:, 2:] == -torch.inf).all())
    assert bool((found.effect[:, :2] > -torch.inf).all())


def test_they_are_rebuilt_from_plain_values() -> None:
    described = plain(Demonstrations([GreedySearch(max_rows=7)], 3))
    assert isinstance(described, dict)
    assert built(described, Demonstrations) == Demonstrations([GreedySearch(max_rows=7)], 3)


def test_examples_must_be_requests(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="task that makes requests"):
        demonstrations(tmp_path).find(environment(), Histories(examples().request), "log", CPU)
    nobody = Requests(examples().request.select(torch.tensor([], dtype=torch.int64)))
    with pytest.raises(SettingError, match="eligible"):
        demonstrations(tmp_path).find(environment(), nobody, "log", CPU)


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="searches"):
        Demonstrations(searches=[])
    with pytest.raises(SettingError, match="paths_per_search"):
        Demonstrations(paths_per_search=0)
