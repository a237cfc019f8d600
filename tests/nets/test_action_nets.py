"""Networks over observations: each row by itself, every weight in use, noise when asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.nets.action_nets import (
    ActionNet,
    ConceptActionNet,
    ConceptNetwork,
    NetSettings,
    NoisyLinear,
    Observation,
    PlainNetwork,
    Sizes,
    times_taken,
)

SIZES = Sizes(vector=2 * 4 + 3, channels=2, concepts=4, actions=4)


def seen(rows: int = 5, seed: int = 0) -> Observation:
    generator = torch.Generator().manual_seed(seed)
    goal = torch.rand(rows, 4, generator=generator) < 0.5
    goal[:, 0] = True
    taken = torch.randint(-1, 4, (rows, 3), generator=generator)
    return Observation(torch.randn(rows, 11, generator=generator), goal, torch.arange(rows) % 4, taken)


def made(settings: NetSettings, noisy: bool = False) -> ActionNet:
    torch.manual_seed(0)
    net = settings.build(SIZES, per_action=2, per_state=1, noisy=noisy)
    if isinstance(net, ConceptActionNet):
        net.needs[1, 0] = net.needs[3, 1] = True
    return net


NETS = [ConceptNetwork(16, 3, 1), ConceptNetwork(16, 0, 0), PlainNetwork(16)]


@pytest.mark.parametrize("settings", NETS)
def test_a_row_does_not_depend_on_the_others(settings: NetSettings) -> None:
    net = made(settings)
    action, state = net(seen())
    assert action.shape == (5, 4, 2)
    assert state.shape == (5, 1)
    alone, alone_state = net(Observation(*(part[2:3] for part in seen())))
    assert torch.allclose(action[2:3], alone, atol=1e-6)
    assert torch.allclose(state[2:3], alone_state, atol=1e-6)
    grid = Observation(*(torch.stack([part, part.flip(0)], 1) for part in seen()))
    assert torch.allclose(net(grid)[0][:, 0], action, atol=1e-6)


@pytest.mark.parametrize("settings", NETS)
def test_every_part_of_an_observation_counts(settings: NetSettings) -> None:
    net, before = made(settings), made(settings)(seen())[0]
    first = seen()
    others = [
        first._replace(vector=first.vector + 1),
        first._replace(goal=~first.goal),
        first._replace(left=first.left + 1),
        first._replace(taken=(first.taken + 2) % 4),
    ]
    assert all(not torch.allclose(net(other)[0], before) for other in others)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("settings", NETS)
def test_every_weight_moves_and_two_rows_are_learned_by_heart(settings: NetSettings, noisy: bool) -> None:
    net = made(settings, noisy)
    before = {name: weight.clone() for name, weight in net.named_parameters()}
    net.renew(Draws.of(0, 0, torch.zeros(1, dtype=torch.int64)) if noisy else None)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    wanted = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(1))
    for _ in range(400):
        action, state = net(seen(2))
        loss = (action - wanted).square().mean() + (state - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.02
    assert all(not torch.equal(weight, before[name]) for name, weight in net.named_parameters())


def test_noise_is_drawn_anew_and_turned_off() -> None:
    torch.manual_seed(0)
    layer, x = NoisyLinear(6, 4), torch.randn(3, 6)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    found: list[Tensor] = []
    for step in range(400):
        layer.renew(Draws.of(0, step, torch.zeros(1, dtype=torch.int64)))
        found.append(layer(x).detach())
    every = torch.stack(found)
    plain = nn.functional.linear(x, layer.weight, layer.bias)
    assert torch.allclose(every.mean(0), plain, atol=0.15)
    # f(a) f(b) of normal a, b has variance (2 / pi); f(b) alone that of sqrt |b|: E |b| = sqrt(2 / pi)
    scale = 0.5 * 6**-0.5
    wanted = scale * (x.square().sum(1, keepdim=True) * 2 / torch.pi + (2 / torch.pi) ** 0.5).sqrt()
    assert torch.allclose(every.std(0), wanted.expand(3, 4), rtol=0.2)
    layer.renew(None)
    assert torch.equal(layer(x), plain)


def test_times() -> None:
    assert times_taken(torch.tensor([[[0, 3, 0], [-1, -1, -1]]]), 4).tolist() == [[[2, 0, 0, 1], [0, 0, 0, 0]]]


def test_questions_are_not_concepts() -> None:
    with pytest.raises(SettingError, match="PlainNetwork"):
        ConceptNetwork().build(SIZES._replace(actions=9), 1)
    assert PlainNetwork(4).build(SIZES._replace(actions=9), 1)(seen())[0].shape[1] == 9
    with pytest.raises(SettingError, match="hidden_size"):
        PlainNetwork(0)
    with pytest.raises(SettingError, match="rounds"):
        ConceptNetwork(rounds=-1)
