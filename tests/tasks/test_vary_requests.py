"""Are varied requests made of what was asked, and nothing else?"""

from __future__ import annotations

import torch

from lpr_lightning.draws import Draws
from lpr_lightning.tasks.path_requests import vary_requests
from lpr_lightning.types import PAD, Interactions, PathRequest


def requests(count: int = 200) -> PathRequest:
    log = Interactions.from_lists(
        [[(step % 5, (row + step) % 2) for step in range(1 + row % 7)] for row in range(count)]
    )
    rows = torch.arange(count)
    targets = torch.rand(count, 5, generator=torch.Generator().manual_seed(0)) < 0.4
    return PathRequest(log.batch(rows), targets, torch.full((count,), 10), rows, rows)


def varied_by(request: PathRequest, share: float, seed: int) -> PathRequest:
    return vary_requests(request, share, requests().targets, Draws.of(seed, 0, request.row))


def test_no_share_changes_nothing() -> None:
    request = requests()
    varied = varied_by(request, 0.0, 1)
    assert torch.equal(varied.targets, request.targets)
    assert torch.equal(varied.history.concept, request.history.concept)
    assert torch.equal(varied.row, request.row)


def test_a_share_gets_fronts_of_its_histories_and_targets_of_the_pool() -> None:
    request = requests()
    varied = varied_by(request, 0.5, 1)
    changed = varied.row == PAD
    assert 70 < int(changed.sum()) < 130
    assert torch.equal(varied.targets[~changed], request.targets[~changed])
    assert torch.equal(varied.history.mask[~changed], request.history.mask[~changed])
    known = {tuple(row) for row in request.targets.tolist()}
    assert all(tuple(row) in known for row in varied.targets.tolist())
    assert not torch.equal(varied.targets, request.targets)

    lengths, whole = varied.history.lengths, request.history.lengths
    assert bool((lengths <= whole).all())
    assert {0, 7} <= set(lengths[changed].tolist())
    for row in range(len(request)):
        length = int(lengths[row])
        assert torch.equal(varied.history.concept[row, :length], request.history.concept[row, :length])
        assert torch.equal(varied.history.correct[row, :length], request.history.correct[row, :length])
        assert bool((varied.history.concept[row, length:] == PAD).all())
        assert bool((varied.history.item[row, length:] == PAD).all())
        assert bool((varied.history.correct[row, length:] == 0).all())


def test_the_same_draws_give_the_same_requests_in_any_batch() -> None:
    first, third = (varied_by(requests(), 0.7, seed) for seed in (3, 4))
    some = torch.tensor([150, 3, 77])
    second = varied_by(requests().select(some), 0.7, 3)
    assert torch.equal(first.targets[some], second.targets)
    assert torch.equal(first.history.lengths[some], second.history.lengths)
    assert not torch.equal(first.targets, third.targets)
