"""Is a memoised value dropped whenever what it was computed from changes, and only then?"""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from lpr_lightning.nets.memo import Memo


def ask(memo: Memo, layer: nn.Linear) -> Tensor:
    with torch.no_grad():
        return memo([layer.weight], lambda: layer.weight * 2)


def test_it_is_computed_once() -> None:
    memo, layer = Memo(), nn.Linear(2, 2)
    assert ask(memo, layer) is ask(memo, layer)


@pytest.mark.parametrize("change", ["step", "load", "replace", "data"])
def test_a_changed_weight_is_noticed(change: str) -> None:
    memo, layer = Memo(), nn.Linear(2, 2)
    before = ask(memo, layer)
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
    after = ask(memo, layer)
    assert after is not before
    torch.testing.assert_close(after, layer.weight.detach() * 2)


def test_another_tensor_in_the_same_memory_is_noticed() -> None:
    memo = Memo()

    def first_of(number: float) -> float:
        value = torch.full((1000,), number)
        return float(memo([value], lambda: value[0].clone()))

    assert [first_of(number) for number in range(50)] == list(range(50))


def test_trained_weights_with_gradients_are_never_memoised() -> None:
    memo, layer = Memo(), nn.Linear(2, 2)
    ask(memo, layer)
    assert memo([layer.weight], lambda: layer.weight * 2).requires_grad


def test_frozen_weights_are_memoised_with_gradients_on() -> None:
    memo, layer = Memo(), nn.Linear(2, 2).requires_grad_(False)
    first = memo([layer.weight], lambda: layer.weight * 2)
    assert memo([layer.weight], lambda: layer.weight * 2) is first
    layer.requires_grad_(True)
    assert memo([layer.weight], lambda: layer.weight * 2).requires_grad


def test_what_inference_mode_memoised_serves_gradients() -> None:
    memo, layer = Memo(), nn.Linear(2, 2).requires_grad_(False)
    with torch.inference_mode():
        memo([layer.weight], lambda: layer.weight * 2)
    inputs = torch.ones(2, 2, requires_grad=True)
    value = memo([layer.weight], lambda: layer.weight * 2)
    torch.testing.assert_close(torch.autograd.grad((inputs * value).sum(), inputs)[0], layer.weight * 2)


def test_copies_start_empty() -> None:
    memo, layer = Memo(), nn.Linear(2, 2)
    first = ask(memo, layer)
    assert ask(copy.deepcopy(memo), layer) is not first
    assert ask(pickle.loads(pickle.dumps(memo)), layer) is not first
