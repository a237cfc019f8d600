"""One LSTM layer whose input products are looked up in a table: real steps only, time-major, own backward pass."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_BLOCK = 128  # steps whose weight gradients are computed together: enough for the product, small enough for the cache
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_free: list[Tensor] = []
_lock = threading.RLock()  # the same thread may come back while it collects garbage
_MOST_FREE = 2  # one for the graph that is being built, one for that of the loss that is still held


@dataclass(frozen=True)
class PackedRows:
    """Where the real steps of right-padded rows lie when they stand time-major, longest row first, without padding.

    `order` [B] are the rows, longest first; `batch_sizes` is how many rows are still going on at each step; `place`
    [S] is the place of each real step in the flattened [B * T] rows; `steps` is T.

    >>> packed = PackedRows.of(torch.tensor([[True, False, False], [True, True, False]]))
    >>> packed.batch_sizes, packed.place.tolist()
    ([2, 1], [3, 0, 4])
    >>> packed.pack(torch.tensor([[7, 0, 0], [8, 9, 0]]))
    tensor([8, 7, 9])
    >>> packed.unpack(torch.tensor([8, 7, 9]))
    tensor([[7, 0, 0],
            [8, 9, 0]])
    """

    order: Tensor
    batch_sizes: list[int]
    place: Tensor
    steps: int

    @classmethod
    def of(cls, mask: Tensor) -> PackedRows:
        """Return the places of the real steps of `mask` [B, T], which is True on the first steps of each row."""
        steps = mask.shape[1]
        lengths, order = mask.sum(1).sort(descending=True, stable=True)
        going = lengths > torch.arange(steps, device=mask.device)[:, None]
        step, row = going.nonzero(as_tuple=True)
        sizes = [size for size in going.sum(1).tolist() if size]
        return cls(order, sizes, order[row] * steps + step, steps)

    @property
    def back(self) -> Tensor:
        """Where each row stands in `order`, [B]: `x_sorted[packed.back]` puts rows back."""
        return self.order.argsort()

    def pack(self, rows: Tensor) -> Tensor:
        """Return the real steps of `rows` [B, T, …] as [S, …]."""
        return rows.flatten(0, 1).index_select(0, self.place)

    def unpack(self, steps: Tensor) -> Tensor:
        """Return [S, …] as padded rows [B, T, …], zero where there is no step."""
        rows = steps.new_zeros(len(self.order) * self.steps, *steps.shape[1:])
        return rows.index_copy(0, self.place, steps).view(len(self.order), self.steps, *steps.shape[1:])


def lookup_lstm(
    table: Tensor,
    rows: Tensor | None,
    weight_hh: Tensor,
    batch_sizes: list[int],
    h0: Tensor | None = None,
    c0: Tensor | None = None,
    more: Sequence[tuple[Tensor, Tensor | None]] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one LSTM layer over packed rows; equal to `nn.LSTM` with input products `table[rows]`, bias included.

    Only the recurrent products are computed, for steps that exist. Works in float32 and float64, on the CPU, and has
    first derivatives only. A table that is much longer than S is better cut to the rows that occur first.

    Args:
        table: Input products [V, 4H] in the gate order of `nn.LSTM` (entry, forget, candidate, output).
        rows: Row of `table` for each real step in the order of `PackedRows`, [S] int64; None where `table` itself holds
            one row for each step.
        weight_hh: Recurrent weight [4H, H].
        batch_sizes: Rows that are going on at each step, never growing; they sum to S.
        h0: Hidden state [B, H] at the start, rows in `PackedRows.order`; B is at least the first batch size. None is
            zero, for as many rows as the first batch size.
        c0: Cell state [B, H] at the start; None is zero.
        more: Further tables with their rows, whose products are added.

    Returns:
        Hidden states [S, H] after each step, and the last hidden and cell state [B, H] of each row in
        `PackedRows.order`. Gradients reach every table, `weight_hh`, `h0` and `c0`.

    >>> table, weight = torch.zeros(1, 4), torch.zeros(4, 1)
    >>> hidden, last, cell = lookup_lstm(table, torch.tensor([0]), weight, [1], torch.zeros(1, 1), torch.ones(1, 1))
    >>> cell, round(float(hidden), 4)
    (tensor([[0.5000]]), 0.2311)
    """
    tables = [one.to(weight_hh.dtype) for one in (table, *(one for one, _ in more))]
    indices = [rows, *(index for _, index in more)]
    if c0 is None:
        count = len(h0) if h0 is not None else batch_sizes[0] if batch_sizes else 0
        c0 = weight_hh.new_zeros(count, weight_hh.shape[1])
    if torch.is_grad_enabled() and any(
        part is not None and part.requires_grad for part in (weight_hh, h0, c0, *tables)
    ):
        run: Any = _LookupLSTM.apply
    else:
        run = _without_gradient
    hidden, last, cell = run(weight_hh, h0, c0, batch_sizes, indices, *tables)
    return hidden, last, cell


def gate_scale(weight: Tensor) -> Tensor:
    """Return [4H] for a recurrent weight [4H, H]: 1 for the candidate, 1/2 for gates, as (1 + tanh(x / 2)) / 2."""
    scale = weight.new_full((4 * weight.shape[1],), 0.5)
    scale[2 * weight.shape[1] : 3 * weight.shape[1]] = 1.0
    return scale


@torch.no_grad()
def lookup_last(
    table: Tensor, rows: Tensor, weight_hh: Tensor, batch_sizes: list[int], h0: Tensor, c0: Tensor
) -> tuple[Tensor, Tensor]:
    """Return only the last states of `lookup_lstm`, without gradients; nothing is stored between.

    Args: as there, but `table` [V, 4H] and `weight_hh` [4H, H] are already multiplied by `gate_scale`.

    >>> table, weight = torch.zeros(1, 4), torch.zeros(4, 1)
    >>> lookup_last(table, torch.tensor([0]), weight, [1], torch.zeros(1, 1), torch.ones(1, 1))[1]
    tensor([[0.5000]])
    """
    hidden, cell, scale = h0.clone(), c0.clone(), gate_scale(weight_hh)
    shift, widest = 1 - scale, max(batch_sizes, default=0)
    gate, squashed = hidden.new_empty(widest, len(scale)), hidden.new_empty(widest, hidden.shape[1])
    for live, index in zip(batch_sizes, torch.split(rows, batch_sizes)):
        gate, squashed, before, now = gate[:live], squashed[:live], hidden[:live], cell[:live]
        torch.index_select(table, 0, index, out=gate)
        gate.addmm_(before, weight_hh.t())
        torch.addcmul(shift, gate.tanh_(), scale, out=gate)
        entry, forget, candidate, output = gate.chunk(4, 1)
        now.mul_(forget).addcmul_(entry, candidate)
        torch.mul(output, torch.tanh(now, out=squashed), out=before)
    return hidden, cell


class _Gates:
    """Fills in the gates of a step."""

    def __init__(
        self, weight: Tensor, batch_sizes: list[int], indices: list[Tensor | None], tables: tuple[Tensor, ...]
    ) -> None:
        self.scale = gate_scale(weight)
        self.shift = 1 - self.scale
        self.weight = (weight * self.scale[:, None]).t().contiguous()
        self.looked_up = [
            (table * self.scale, torch.split(index, batch_sizes))
            for table, index in zip(tables, indices)
            if index is not None
        ]
        self.given = [torch.split(table, batch_sizes) for table, index in zip(tables, indices) if index is None]

    def fill(self, step: int, gate: Tensor, before: Tensor | None) -> None:
        """Write the gates of one step into `gate` [live, 4H], `before` [live, H] being the hidden state so far."""
        empty = True
        for table, index in self.looked_up:
            if empty:
                torch.index_select(table, 0, index[step], out=gate)
            else:
                gate.add_(table.index_select(0, index[step]))
            empty = False
        for products in self.given:
            if empty:
                torch.mul(products[step], self.scale, out=gate)
            else:
                gate.addcmul_(products[step], self.scale)
            empty = False
        if before is not None:
            gate.addmm_(before, self.weight)
        torch.addcmul(self.shift, gate.tanh_(), self.scale, out=gate)


def _without_gradient(
    weight: Tensor,
    h0: Tensor | None,
    c0: Tensor,
    batch_sizes: list[int],
    indices: list[Tensor | None],
    *tables: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the layer; nothing but the hidden states is kept."""
    gates = _Gates(weight, batch_sizes, indices, tables)
    size, widest = weight.shape[1], max(batch_sizes, default=0)
    hidden = weight.new_empty(sum(batch_sizes), size)
    last_cell = c0.clone()
    gate, squashed = weight.new_empty(widest, 4 * size), weight.new_empty(widest, size)
    before = h0
    for step, (live, after) in enumerate(zip(batch_sizes, torch.split(hidden, batch_sizes))):
        gate, squashed, now = gate[:live], squashed[:live], last_cell[:live]
        gates.fill(step, gate, None if before is None else before[:live])
        entry, forget, candidate, output = gate.chunk(4, 1)
        now.mul_(forget).addcmul_(entry, candidate)
        before = torch.mul(output, torch.tanh(now, out=squashed), out=after)
    return hidden, _last(hidden, h0, c0, batch_sizes), last_cell


def _last(states: Tensor, first: Tensor | None, like: Tensor, batch_sizes: list[int]) -> Tensor:
    """Return each row's last state [B, H]; rows without steps keep their `first`."""
    last = torch.zeros_like(like) if first is None else first.clone()
    start = 0
    for live, following in zip(batch_sizes, [*batch_sizes[1:], 0]):
        if following < live:
            last[following:live] = states[start + following : start + live]
        start += live
    return last


class _LookupLSTM(torch.autograd.Function):
    """The layer and its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        h0: Tensor | None,
        c0: Tensor,
        batch_sizes: list[int],
        indices: list[Tensor | None],
        *tables: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps = _Gates(weight, batch_sizes, indices, tables)
        total, size, widest = sum(batch_sizes), weight.shape[1], max(batch_sizes, default=0)
        workspace = Workspace(6 * total * size, weight.dtype)
        hidden = weight.new_empty(total, size)
        last_cell = c0.clone()
        gate, squashed = weight.new_empty(widest, 4 * size), weight.new_empty(widest, size)
        before = h0
        parts = [torch.split(part, batch_sizes) for part in (hidden, *_slopes(workspace.buffer, total, size))]
        for step, (after, slope, through, kept) in enumerate(zip(*parts)):
            live = len(after)
            gate, squashed, cell = gate[:live], squashed[:live], last_cell[:live]
            steps.fill(step, gate, None if before is None else before[:live])
            entry, forget, candidate, output = gate.chunk(4, 1)
            d_entry, d_forget, d_candidate, d_output = slope.unbind(1)
            _sigmoid_backward(candidate, entry, grad_input=d_entry)
            _sigmoid_backward(cell, forget, grad_input=d_forget)
            _tanh_backward(entry, candidate, grad_input=d_candidate)
            kept.copy_(forget)
            torch.tanh(cell.mul_(forget).addcmul_(entry, candidate), out=squashed)
            _sigmoid_backward(squashed, output, grad_input=d_output)
            _tanh_backward(output, squashed, grad_input=through)
            before = torch.mul(output, squashed, out=after)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(weight, h0, hidden, *(index for index in indices if index is not None))
        ctx.workspace, ctx.batch_sizes = workspace, batch_sizes
        ctx.looked_up, ctx.count = [index is not None for index in indices], len(c0)
        ctx.heights = [len(table) for table in tables]
        return hidden, _last(hidden, h0, c0, batch_sizes), last_cell

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        weight, h0, hidden, *indices = ctx.saved_tensors
        sizes, size = ctx.batch_sizes, weight.shape[1]
        dh, dc = (weight.new_zeros(ctx.count, size) if part is None else part.clone() for part in gradients[1:])
        block = _Block(ctx, weight, len(hidden), indices)
        slopes, throughs, keeps = _slopes(ctx.workspace.buffer, len(hidden), size)
        parts = [torch.split(part, sizes) for part in (slopes[:, :3], slopes[:, 3], throughs, keeps)]
        states = torch.split(hidden, sizes)
        outer = None if gradients[0] is None else torch.split(gradients[0], sizes)
        for step in range(len(sizes) - 1, -1, -1):
            live = sizes[step]
            d_hidden, d_cell = dh[:live], dc[:live]
            before = states[step - 1] if step else h0
            cell_slope, output_slope, through, kept = (part[step] for part in parts)
            if outer is not None:
                d_hidden += outer[step]
            d_cell.addcmul_(d_hidden, through)
            gate = block.space(live)
            torch.mul(cell_slope, d_cell[:, None], out=gate[:, :3])
            torch.mul(output_slope, d_hidden, out=gate[:, 3])
            d_cell *= kept
            if before is not None:
                torch.mm(gate.view(live, 4 * size), weight, out=d_hidden)
            block.add(live, None if before is None else before[:live])
        d_weight, d_tables = block.finish()
        return d_weight, None if h0 is None else dh, dc, None, None, *d_tables


def _slopes(buffer: Tensor, rows: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a flat buffer into what the gradient of each step is made of, all that need be kept of it.

    They are [rows, 4, H], the slope of the cell in the first three gates' inputs and of the hidden state in the last
    one's; [rows, H], the slope of the hidden state in the cell; [rows, H], that of the cell in the one before it.
    """
    gates, through, kept = torch.split(buffer[: 6 * rows * size], [4 * rows * size, rows * size, rows * size])
    return gates.view(rows, 4, size), through.view(rows, size), kept.view(rows, size)


class _Block:
    """Turns the gates' gradients, which come last step first, into those of weight and tables, some steps at a time."""

    def __init__(self, ctx: Any, weight: Tensor, total: int, indices: list[Tensor]) -> None:
        size = weight.shape[1]
        left = iter(indices)
        self.indices = [next(left) if known else None for known in ctx.looked_up]
        self.weight = weight.new_zeros(size, 4 * size) if ctx.needs_input_grad[0] else None
        self.tables = [
            weight.new_zeros(height, 4 * size) if wanted and index is not None else None
            for height, index, wanted in zip(ctx.heights, self.indices, ctx.needs_input_grad[5:])
        ]
        self.keeps_all = not all(ctx.looked_up)
        capacity = total if self.keeps_all else min(total, _BLOCK + max(ctx.batch_sizes, default=0))
        self.gates = weight.new_empty(capacity, 4 * size)
        self.past: list[Tensor] = []
        self.end = capacity  # of the rows of `gates` that are still to be filled, from behind
        self.start = self.done = total  # steps from `start` on are in, those from `done` on are done with

    def space(self, live: int) -> Tensor:
        """Return where the gradient [live, 4, H] of the next step's gates is to be written."""
        return self.gates[self.end - live : self.end].view(live, 4, -1)

    def add(self, live: int, before: Tensor | None) -> None:
        """Take in what has been written; `before` [live, H] is the hidden state that the step began with."""
        if before is None:
            self._flush_weight()
        else:
            self.past.append(before)
        self.start -= live
        self.end -= live
        if self.done - self.start >= _BLOCK:
            self._flush()

    def finish(self) -> tuple[Tensor | None, list[Tensor | None]]:
        """Return the gradients of the recurrent weight and of each table."""
        self._flush()
        tables = [self.gates.clone() if index is None else table for table, index in zip(self.tables, self.indices)]
        return None if self.weight is None else self.weight.t(), tables

    def _flush_weight(self) -> None:
        """Add the part of the recurrent weight in what has been taken in since the last time."""
        if self.past and self.weight is not None:
            before = self.past[0] if len(self.past) == 1 else torch.cat(self.past[::-1])
            self.weight.addmm_(before.t(), self.gates[self.end : self.end + len(before)])
        self.past = []

    def _flush(self) -> None:
        """Add all parts in what has been taken in since the last time."""
        self._flush_weight()
        gates = self.gates[self.end : self.end + self.done - self.start]
        for table, index in zip(self.tables, self.indices):
            if table is not None and index is not None:
                table.index_add_(0, index[self.start : self.done], gates)
        self.done = self.start
        if not self.keeps_all:
            self.end = len(self.gates)


class Workspace:
    """A flat buffer of at least `numel` numbers on the CPU; it can be used again once this object is gone.

    At most two free buffers stay, as long as the process.

    >>> Workspace(10, torch.float32).buffer.numel() >= 10
    True
    """

    def __init__(self, numel: int, dtype: torch.dtype) -> None:
        self.buffer = _taken(numel, dtype)

    def __del__(self) -> None:
        with _lock:
            if len(_free) < _MOST_FREE:
                _free.append(self.buffer)


def _taken(numel: int, dtype: torch.dtype) -> Tensor:
    """Return a free buffer that is large enough, else a new one in place of the oldest free one."""
    with _lock:
        for place, buffer in enumerate(_free):
            if buffer.dtype == dtype and buffer.numel() >= numel:
                return _free.pop(place)
        if len(_free) == _MOST_FREE:
            _free.pop(0)
    return torch.empty(numel, dtype=dtype)
