"""Rank fidelity of the simulator of a module that is not ours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_module import LENGTH, NUM_CONCEPTS, ForeignData, ForeignModule, everyone, make_trainer, true_ladder
from lightning.pytorch import LightningModule

from lpr_lightning.callbacks import RankFidelity
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import Targets
from lpr_lightning.policies import RandomPaths, RandomTargets
from lpr_lightning.policies.mixed_paths import path_gains
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import request_draws
from lpr_lightning.types import PAD, Exercise, PathRequest, State, TensorData, repeat_rows


class Certain(ForeignData):
    """True learners who leave nothing to chance."""

    def __init__(self, size: int = 3) -> None:
        super().__init__(size=size)
        self.truth = Ladder(NUM_CONCEPTS, gain=0.4)  # type: ignore[assignment]


@dataclass
class Backwards(Ladder):
    """A simulator in which practice takes away what it brings in truth."""

    def mastery(self, state: State, concept: torch.Tensor | None = None) -> torch.Tensor:
        return 1 - super().mastery(state, concept)


@dataclass
class Useless(Ladder):
    """A simulator in which nobody learns anything."""

    def practise(self, state: State, asked: Exercise, correct: torch.Tensor) -> State:
        return repeat_rows(state, asked.candidates().shape[1])


def logged(
    callback: RankFidelity, data: ForeignData, folder: Path, simulator: Ladder | None = None
) -> dict[str, float]:
    module = ForeignModule()
    if simulator is not None:
        vars(module).update(simulator=simulator)
    trainer = make_trainer(folder, [callback])
    trainer.test(module, datamodule=data, verbose=False)
    return {key: float(value) for key, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize(("simulator", "expected"), [(Ladder(5, gain=0.4), 1.0), (Backwards(5, gain=0.4), -1.0)])
def test_the_truth_itself_is_faithful_and_its_contrary_is_not(
    tmp_path: Path, simulator: Ladder, expected: float
) -> None:
    assert logged(RankFidelity(), Certain(), tmp_path, simulator)["test/rank_fidelity"] == pytest.approx(expected)


def test_another_simulator_lies_between_with_its_interval(tmp_path: Path) -> None:
    found = logged(RankFidelity(), ForeignData(), tmp_path)
    assert 0 < found["test/rank_fidelity_low"] <= found["test/rank_fidelity"] <= found["test/rank_fidelity_high"] < 1


def test_batches_make_no_difference(tmp_path: Path) -> None:
    for callback in (RankFidelity(), RankFidelity(learners=3)):
        one, two = (logged(callback, ForeignData(size=size), tmp_path) for size in (2, 6))
        assert one["test/rank_fidelity"] == pytest.approx(two["test/rank_fidelity"], abs=1e-6)


def test_no_more_learners_are_looked_at_than_were_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lpr_lightning.callbacks import rank_fidelity as module

    seen: list[torch.Tensor] = []

    def noted(*arguments: object) -> torch.Tensor:
        seen.append(arguments[2].row)  # type: ignore[attr-defined]
        return path_gains(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "path_gains", noted)
    logged(RankFidelity(learners=4), ForeignData(), tmp_path)
    assert len(set(torch.cat(seen).tolist())) == 4


def test_learners_of_whom_every_path_is_alike_do_not_count(tmp_path: Path) -> None:
    assert np.isnan(logged(RankFidelity(), Certain(), tmp_path, Useless(5))["test/rank_fidelity"])


def test_paths_are_mixed(tmp_path: Path) -> None:
    """Learner 2 wants concepts 1 and 2; the first paths are the module's and the policies' own."""
    callback, module, request = RankFidelity([RandomPaths(1), RandomTargets(2)], paths=83), ForeignModule(), everyone()
    own = module.taught(request).action
    path = callback._mixed(module, request, own)
    assert path.shape == (6, 83, LENGTH)
    assert torch.equal(path[:, 0], own)
    drawn, wanted = path[2, 3:], torch.tensor([1, 2])
    share = [float(torch.isin(drawn[kind::4], wanted).float().mean()) for kind in range(3)]
    assert share[0] == pytest.approx(0.4, abs=0.2)
    assert share[1] == 1.0
    assert share[0] < share[2] < 1.0
    parents = path[2, :3]
    same = (drawn[3::4, None] == parents).float().mean(2).amax(1)
    assert float(same.mean()) > 0.6
    shorter = replace(request, length=torch.tensor([4, 2, 4, 0, 1, 4]), row=request.learner)
    lengths = (callback._mixed(module, shorter, own) != PAD).sum(2)
    assert bool((lengths <= shorter.length[:, None]).all())


def test_gains_are_those_of_soft_marks() -> None:
    request, ladder = everyone(), true_ladder()
    path = torch.tensor([[[0, 0], [1, 3]]]).expand(6, -1, -1)
    draws = request_draws(0, 0, request)
    found = path_gains(ladder, Targets(), request, path, draws)
    assert found.shape == (6, 2)
    assert bool((found[3:] == 0).all())  # whose targets are none of these, or not within reach
    assert set(found[:, 0].mul(5).round().tolist()) <= {0.0, 2.0, 4.0}


def test_without_truth_or_request(tmp_path: Path) -> None:
    assert "test/rank_fidelity" not in logged(RankFidelity(), ForeignData(truth=False), tmp_path)

    class WithoutRequest(ForeignModule):
        def test_step(self, batch: PathRequest, batch_idx: int) -> dict[str, TensorData]:
            return {"rollout": self.taught(batch)}

    class Bare(LightningModule):
        def test_step(self, batch: PathRequest, batch_idx: int) -> None:
            """Do nothing."""

    for module, named in ((WithoutRequest(), "request"), (Bare(), "HasEpisodes")):
        trainer = make_trainer(tmp_path, [RankFidelity()])
        with pytest.raises(SettingError, match=named):
            trainer.test(module, datamodule=ForeignData(), verbose=False)
