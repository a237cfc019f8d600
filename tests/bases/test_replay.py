"""The ring: what goes in comes out, whatever was overwritten, saved, widened or preferred."""

from __future__ import annotations

import io
from collections import Counter

import pytest
import torch

from lpr_lightning.bases.replay import Episodes, Replay, packed_bits, unpacked_bits
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.types import PAD


def episodes(first: int, count: int, steps: int = 3, lengths: list[int] | None = None) -> Episodes:
    """Return episodes whose numbers tell which they are: rewards 100 e + t, states 100 e + t."""
    number = torch.arange(first, first + count)
    length = torch.tensor(lengths or [steps] * count)
    place = torch.arange(steps)
    mark = 100.0 * number[:, None] + torch.arange(steps + 1)
    return Episodes(
        once=(number[:, None],),
        steps=(mark[..., None],),
        goals=(number[:, None, None] >> torch.arange(9)) % 2 == 1,
        action=torch.where(place < length[:, None], place + number[:, None] % 5, PAD),
        reward=torch.where(place < length[:, None], mark[:, :-1], 0.0),
        limit=torch.full((count,), steps),
        row=number,
        vector=torch.zeros(count, steps, 0),
    )


def draws(count: int, step: int = 0) -> Draws:
    return Draws.of(0, step, torch.arange(count))


def test_every_step_is_drawn_alike_and_means_what_was_added() -> None:
    replay = Replay(capacity=4)
    replay.add(episodes(0, 2, lengths=[3, 1]))
    drawn = replay.draw(4000, draws(4000), steps=2, discount=0.5)
    found = Counter(zip(drawn.episode.tolist(), drawn.place.tolist()))
    assert set(found) == {(0, 0), (0, 1), (0, 2), (1, 0)}
    assert all(abs(times - 1000) < 120 for times in found.values())
    rows = {key: row for row, key in enumerate(zip(drawn.episode.tolist(), drawn.place.tolist()))}
    table = torch.stack([drawn.reward, drawn.end.float(), drawn.discount], 1)
    assert table[rows[0, 0]].tolist() == [0 + 0.5 * 1, 2, 0.25]
    assert table[rows[0, 1]].tolist() == [1 + 0.5 * 2, 3, 0]  # the horizon's end is terminal
    assert table[rows[1, 0]].tolist() == [100, 1, 0]
    assert torch.equal(drawn.action, drawn.place + drawn.episode)
    assert bool((drawn.weight == 1).all())


def test_the_oldest_make_room() -> None:
    replay = Replay(capacity=3)
    for first in (0, 2, 4):
        replay.add(episodes(first, 2))
    kept = replay.episodes
    assert len(replay) == 3
    assert sorted(kept.row.tolist()) == [3, 4, 5]
    for place, number in enumerate(kept.row.tolist()):
        assert kept.once[0][place].item() == number
        assert kept.steps[0][place, :, 0].tolist() == [100 * number + t for t in range(4)]
        flags = unpacked_bits(kept.goals[place, 0], 9)
        assert flags.tolist() == [(number >> bit) % 2 == 1 for bit in range(9)]


def test_shorter_episodes_leave_nothing_of_longer_ones() -> None:
    replay = Replay(capacity=1)
    replay.add(episodes(0, 1, steps=2))
    replay.add(episodes(1, 1, steps=5))  # wider
    replay.add(episodes(2, 1, steps=2))
    assert replay.episodes.action.tolist() == [[2, 3, PAD, PAD, PAD]]
    assert replay.episodes.reward.tolist() == [[200.0, 201.0, 0.0, 0.0, 0.0]]
    assert int(replay.draw(50, draws(50)).place.max()) == 1


def test_a_saved_ring_goes_on_as_the_ring_does() -> None:
    one = Replay(capacity=3, priority=0.6)
    one.add(episodes(0, 2))
    first = one.draw(8, draws(8))
    one.judge(first.episode, first.place, torch.arange(8.0))
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other = Replay(capacity=3, priority=0.6)
    other.load_state_dict(torch.load(file, weights_only=True))
    for replay in (one, other):
        replay.add(episodes(2, 2))
    left, right = (replay.draw(64, draws(64, 1), correction=0.5) for replay in (one, other))
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
    with pytest.raises(SettingError, match="capacity"):
        Replay(capacity=1).load_state_dict(one.state_dict())


def test_priorities_draw_and_weights_correct() -> None:
    replay = Replay(capacity=2, priority=1.0)
    replay.add(episodes(0, 1, steps=2))
    replay.judge(torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([3.0, 1.0]))
    drawn = replay.draw(4000, draws(4000), correction=1.0)
    first = drawn.place == 0
    assert first.float().mean() == pytest.approx(0.75, abs=0.03)
    assert drawn.weight[first][0] == pytest.approx(1 / 3, abs=1e-4)  # as rare as 1 / (2 * 0.75) to 1 / (2 * 0.25)
    assert drawn.weight[~first][0] == 1
    replay.add(episodes(1, 1, steps=2))  # new ones get the highest priority
    share = (replay.draw(4000, draws(4000, 1)).episode == 1).float().mean()
    assert share == pytest.approx(6 / 10, abs=0.03)


def test_memory_of_a_transition_at_the_papers_size() -> None:
    replay, steps = Replay(capacity=8), 10
    small = episodes(0, 8, steps)
    states = (torch.zeros(8, steps + 1, 600),)  # h and c of 300
    replay.add(Episodes(small.once, states, torch.zeros(8, 1, 1377).bool(), *list(vars(small).values())[3:]))
    assert replay.nbytes / 8 / steps < 3000


def test_bits() -> None:
    flags = torch.rand(5, 3, 13, generator=torch.Generator().manual_seed(0)) < 0.5
    assert torch.equal(unpacked_bits(packed_bits(flags), 13), flags)


def test_an_empty_ring_gives_nothing() -> None:
    with pytest.raises(SettingError, match="add some"):
        Replay(4).draw(2, draws(2))
