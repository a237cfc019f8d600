from __future__ import annotations

import torch
from torch import nn

from lpr_lightning.nets.frozen_weights import FrozenWeights


def test_trained_weights_go_back_and_come_again() -> None:
    first, last = nn.Linear(2, 3).requires_grad_(False), nn.Linear(3, 1)
    net = nn.Sequential(first, last)
    kept, x = FrozenWeights(net), torch.rand(4, 2)
    assert sum(one.numel() for one in kept.buffers()) == 4
    before = net(x).detach()
    with torch.no_grad():
        last.weight.add_(1.0)
    after = net(x).detach()
    weight = last.weight
    with kept.in_place(net):
        assert torch.equal(net(x), before)
    assert last.weight is weight
    assert torch.equal(net(x), after)
    kept.take(net)
    with kept.in_place(net):
        assert torch.equal(net(x), after)


def test_a_checkpoint_holds_them() -> None:
    net = nn.Linear(2, 1)
    kept, other = FrozenWeights(net), FrozenWeights(nn.Linear(2, 1))
    other.load_state_dict(kept.state_dict())
    with other.in_place(net):
        assert torch.equal(net.weight, dict(kept.named_buffers())["weight_0"])
