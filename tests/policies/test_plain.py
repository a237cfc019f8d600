"""Plain policies against what they say they do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from lpr_lightning.demonstrations.baselines import DKTRec, RandomPaths, RandomTargets
from lpr_lightning.demonstrations.beam import BeamSearch, GreedySearch
from lpr_lightning.demonstrations.genetic import GeneticSearch

from lpr_lightning.hparams import built, plain
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import PathPolicy

POLICIES: list[PathPolicy] = [
    RandomPaths(),
    RandomTargets(),
    DKTRec(),
    GreedySearch(),
    BeamSearch(width=2),
    GeneticSearch(population=4, generations=1),
]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_gives_paths_of_the_wanted_lengths_and_can_be_configured(policy: PathPolicy) -> None:
    ladder = Ladder(5)
    request = replace(ladder.request(targets=[[1, 3], [4], []], length=3), length=torch.tensor([3, 1, 2]))
    path = policy.plan(request, ladder)
    assert path.dtype == torch.int64
    assert (path >= 0).sum(1).tolist() == [3, 1, 2]
    assert path[1, 1:].tolist() == [-1, -1]
    assert int(path.max()) < 5
    assert torch.equal(policy.plan(request, ladder), path)
    assert built(plain(policy)) == policy
    assert policy.plan(request.select(torch.tensor([], dtype=torch.int64)), ladder).shape == (0, 0)


def test_names_are_distinct() -> None:
    assert len({policy.name for policy in POLICIES}) == len(POLICIES)


def test_random_paths_are_even_and_depend_on_the_seed_and_rows() -> None:
    ladder = Ladder(4)
    request = ladder.request(targets=[[0]] * 2000, length=5)
    path = RandomPaths(seed=1).plan(request, ladder)
    share = torch.bincount(path.flatten(), minlength=4) / path.numel()
    torch.testing.assert_close(share, torch.full((4,), 0.25), atol=0.02, rtol=0)
    assert not torch.equal(path, RandomPaths(seed=2).plan(request, ladder))
    assert not torch.equal(path, RandomPaths(seed=1).plan(replace(request, row=request.row + 2000), ladder))


def test_random_targets_are_targets() -> None:
    ladder = Ladder(6)
    path = RandomTargets().plan(ladder.request(targets=[[1, 4]] * 50, length=8), ladder)
    assert set(path.flatten().tolist()) == {1, 4}


def test_dktrec_takes_the_probability_nearest_one_half_at_each_step() -> None:
    ladder = Ladder(3, gain=0.3)
    request = ladder.request(targets=[[2]], length=6)
    state, expected = ladder.start(request), []
    for _ in range(6):
        concept = int((ladder.mastery(state)[0] - 0.5).abs().argmin())
        expected.append(concept)
        state, _, _ = ladder.step(state, torch.tensor([concept]))
    assert DKTRec().plan(request, ladder).tolist() == [expected]
