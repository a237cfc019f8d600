"""The looked-up LSTM layer equals a plain one, in numbers and in gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lpr_lightning.nets.fused_lstm import PackedRows, gate_scale, lookup_last, lookup_lstm

LENGTHS = [4, 9, 0, 1, 9, 3]
HIDDEN = 5


def mask(lengths: list[int], steps: int) -> Tensor:
    return torch.arange(steps) < torch.tensor(lengths)[:, None]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.requires_grad_()


def slow(
    products: Tensor, weight: Tensor, h0: Tensor, c0: Tensor, packed: PackedRows, lengths: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Run `nn.LSTMCell` over each row alone; `products` [B, T, 4H], rows of the states in `packed.order`."""
    size = weight.shape[1]
    cell = nn.LSTMCell(4 * size, size, bias=False).double()
    hidden = products.new_zeros(*products.shape[:2], size)
    last, last_cell = [], []
    for place, row in enumerate(packed.order.tolist()):
        h, c = h0[place, None], c0[place, None]
        for step in range(lengths[row]):
            weights = {"weight_ih": torch.eye(4 * size, dtype=torch.float64), "weight_hh": weight}
            h, c = torch.func.functional_call(cell, weights, (products[row, step, None], (h, c)))
            hidden = hidden.index_put((torch.tensor([row]), torch.tensor([step])), h)
        last.append(h[0])
        last_cell.append(c[0])
    return packed.pack(hidden), torch.stack(last), torch.stack(last_cell)


@pytest.mark.parametrize("block", [1, 4, 128])
@pytest.mark.parametrize("tables", ["one", "two", "given", "two given"])
def test_numbers_and_gradients_equal_those_of_a_cell_run_row_by_row(
    tables: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lpr_lightning.nets.fused_lstm._BLOCK", block)
    packed = PackedRows.of(mask(LENGTHS, 10))
    weight, h0, c0 = drawn(4 * HIDDEN, HIDDEN), drawn(6, HIDDEN, seed=1), drawn(6, HIDDEN, seed=2)
    first, second = drawn(7, 4 * HIDDEN, seed=3), drawn(60, 4 * HIDDEN, seed=4)
    index = torch.randint(7, (6, 10), generator=torch.Generator().manual_seed(5))
    rows = packed.pack(index)
    given = second.view(6, 10, -1)
    own = packed.pack(given), None
    arguments: dict[str, tuple[Tensor, list[tuple[Tensor, Tensor | None]]]] = {
        "one": (first[index], [(first, rows)]),
        "two": (first[index] + second[index], [(first, rows), (second, rows)]),
        "given": (given, [own]),
        "two given": (first[index] + 2 * given, [own, (first, rows), own]),
    }
    products, (table, *more) = arguments[tables]
    ours = lookup_lstm(*table, weight, packed.batch_sizes, h0, c0, more)
    plain = slow(products, weight, h0, c0, packed, LENGTHS)
    gradients = []
    for results in (ours, plain):
        total = torch.stack([part.sin().sum() for part in results]).sum()
        wanted = [weight, h0, c0, second if "given" in tables else first]
        gradients.append(torch.autograd.grad(total, wanted))
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(
            lookup_lstm(*table, weight, packed.batch_sizes, h0, c0, more),
            tuple(part.detach() for part in plain),
            rtol=0,
            atol=1e-12,
        )


def test_gradients_equal_finite_differences() -> None:
    packed = PackedRows.of(mask([2, 0, 3], 3))
    rows = torch.tensor([0, 1, 1, 0, 1])

    def run(*parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        table, weight, h0, c0, other = parts
        return lookup_lstm(table, rows, weight, packed.batch_sizes, h0, c0, [(other, rows)])

    inputs = drawn(2, 8), drawn(8, 2, seed=1), drawn(3, 2, seed=2), drawn(3, 2, seed=3), drawn(2, 8, seed=4)
    assert torch.autograd.gradcheck(run, inputs)


def test_one_step_by_hand() -> None:
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    table = torch.tensor([[0.5, -1.0, 2.0, 0.3]])
    weight = torch.tensor([[0.1], [0.2], [-0.4], [1.0]])
    h0, c0 = torch.tensor([[0.7]]), torch.tensor([[-0.6]])
    hidden, last, cell = lookup_lstm(table, torch.tensor([0]), weight, [1], h0, c0)
    new = sigmoid(-1.0 + 0.14) * -0.6 + sigmoid(0.5 + 0.07) * math.tanh(2.0 - 0.28)
    assert float(cell) == pytest.approx(new, abs=1e-6)
    assert float(hidden) == pytest.approx(sigmoid(0.3 + 0.7) * math.tanh(new), abs=1e-6)
    assert torch.equal(hidden, last)


@pytest.mark.parametrize("start", [True, False])
def test_no_start_is_a_zero_start(start: bool) -> None:
    packed = PackedRows.of(mask([3, 2], 3))
    table, weight = drawn(4, 8), drawn(8, 2, seed=1)
    rows = torch.tensor([0, 1, 2, 3, 0])
    zero = torch.zeros(2, 2, dtype=torch.float64)
    none = lookup_lstm(table, rows, weight, packed.batch_sizes, None, zero if start else None)
    zeros = lookup_lstm(table, rows, weight, packed.batch_sizes, zero, zero)
    torch.testing.assert_close(none, zeros)
    gradients = [torch.autograd.grad(hidden.square().sum(), [table, weight]) for hidden, _, _ in (none, zeros)]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    packed = PackedRows.of(mask([3, 2], 3))
    table, weight, rows = drawn(4, 8), drawn(8, 2, seed=1), torch.tensor([0, 1, 2, 3, 0])
    whole = torch.autograd.grad(lookup_lstm(table, rows, weight, packed.batch_sizes)[2].sum(), [table, weight])
    part = torch.autograd.grad(lookup_lstm(table, rows, weight.detach(), packed.batch_sizes)[2].sum(), table)
    other = torch.autograd.grad(lookup_lstm(table.detach(), rows, weight, packed.batch_sizes)[2].sum(), weight)
    torch.testing.assert_close(whole, (*part, *other))


def test_two_graphs_at_once_do_not_share_what_they_keep() -> None:
    table, weight, rows = drawn(4, 8), drawn(8, 2, seed=1), torch.tensor([0, 1, 2, 3, 0])
    alone = torch.autograd.grad(lookup_lstm(table, rows, weight, [2, 2, 1])[0].sum(), weight)
    one = lookup_lstm(table, rows, weight, [2, 2, 1])[0].sum()
    others = [lookup_lstm(table, rows.flip(0), weight, [3, 2])[0].sum() for _ in range(4)]
    torch.testing.assert_close(torch.autograd.grad(one, weight, retain_graph=True), alone)
    del others
    torch.autograd.grad(lookup_lstm(table, rows.flip(0), weight, [5])[0].sum(), weight)
    torch.testing.assert_close(torch.autograd.grad(one, weight), alone)


def test_no_step_at_all() -> None:
    table, weight, none = drawn(4, 8), drawn(8, 2, seed=1), torch.zeros(0, dtype=torch.int64)
    for packed in (PackedRows.of(mask([0, 0], 3)), PackedRows.of(torch.zeros(2, 0, dtype=torch.bool))):
        assert not packed.batch_sizes
        c0 = drawn(2, 2, seed=2)
        hidden, last, cell = lookup_lstm(table, none, weight, packed.batch_sizes, None, c0)
        assert hidden.shape == (0, 2)
        assert not last.any()
        torch.testing.assert_close(cell, c0)
        gradients = torch.autograd.grad(hidden.sum() + cell.sum(), [table, weight, c0])
        assert not gradients[0].any()
        assert not gradients[1].any()
        assert bool((gradients[2] == 1).all())


def test_single_precision_stays_single() -> None:
    hidden, last, cell = lookup_lstm(drawn(4, 8).float(), torch.tensor([0, 3]), drawn(8, 2, seed=1).float(), [1, 1])
    assert {hidden.dtype, last.dtype, cell.dtype} == {torch.float32}


def test_last_states_alone_equal_those_of_a_cell_run_row_by_row() -> None:
    packed = PackedRows.of(mask(LENGTHS, 10))
    weight, h0, c0 = drawn(4 * HIDDEN, HIDDEN), drawn(6, HIDDEN, seed=1), drawn(6, HIDDEN, seed=2)
    table, index = drawn(7, 4 * HIDDEN, seed=3), torch.randint(7, (6, 10), generator=torch.Generator().manual_seed(5))
    scale, sizes = gate_scale(weight), packed.batch_sizes
    found = lookup_last(table * scale, packed.pack(index), weight * scale[:, None], sizes, h0, c0)
    torch.testing.assert_close(found, slow(table[index], weight, h0, c0, packed, LENGTHS)[1:])
