"""Is a kept value dropped whenever a weight changes, and only then?"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lpr_lightning.nets.kept import Kept


def ask(kept: Kept, layer: nn.Linear) -> torch.Tensor:
    with torch.no_grad():
        return kept([layer.weight], lambda: layer.weight * 2)


def test_it_is_computed_once() -> None:
    kept, layer = Kept(), nn.Linear(2, 2)
    assert ask(kept, layer) is ask(kept, layer)


@pytest.mark.parametrize("change", ["step", "load", "replace", "data"])
def test_a_changed_weight_is_noticed(change: str) -> None:
    kept, layer = Kept(), nn.Linear(2, 2)
    before = ask(kept, layer)
    match change:
        case "step":
            layer(torch.ones(1, 2)).sum().backward()
            torch.optim.SGD(layer.parameters(), 0.1).step()
        case "load":
            layer.load_state_dict(nn.Linear(2, 2).state_dict())
        case "replace":
            layer.weight = nn.Parameter(torch.ones(2, 2))
        case _:
            layer.weight.data = torch.ones(2, 2)
    after = ask(kept, layer)
    assert after is not before
    torch.testing.assert_close(after, layer.weight.detach() * 2)


def test_with_gradients_nothing_is_kept() -> None:
    kept, layer = Kept(), nn.Linear(2, 2)
    ask(kept, layer)
    assert kept([layer.weight], lambda: layer.weight * 2).requires_grad


def test_a_copy_starts_empty() -> None:
    kept, layer = Kept(), nn.Linear(2, 2)
    first = ask(kept, layer)
    assert ask(copy.deepcopy(kept), layer) is not first
