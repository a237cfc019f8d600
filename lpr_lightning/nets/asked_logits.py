"""An output layer that computes only what is asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.nets.concept_rows import concept_sets, mean_rows
from lpr_lightning.nets.fast_dropout import LEVELS, random_bits

_PIECE = 256  # rows treated at a time: they stay in the cache


def asked_logits(hidden: Tensor, weight: Tensor, bias: Tensor, concept: Tensor, dropout: float = 0.0) -> Tensor:
    """Return the mean logit over each row's concepts, [S]; equal to the whole layer's output at these places.

    On the CPU dropout draws 16 random bits an element, so that its rate is rounded to 1 / 65,536; they come from
    torch's own generator.

    Args:
        hidden: What the layer is applied to, [S, H].
        weight: The layer's weight [N, H].
        bias: Its bias [N].
        concept: Concepts asked for, [S, C], -1 where unused.
        dropout: Share of the elements of `hidden` that are dropped, in [0, 1).

    >>> weight, bias = torch.eye(3), torch.tensor([0.0, 0.0, 1.0])
    >>> asked_logits(torch.tensor([[5.0, 6.0, 7.0]] * 2), weight, bias, torch.tensor([[2, -1], [0, 1]]))
    tensor([8.0000, 5.5000])
    """
    if concept.shape[1] == 1 and bool((concept >= 0).all()):
        rows: Tensor | None = concept[:, 0]
    else:
        sets, rows = concept_sets(concept, len(weight))
        weight, bias = mean_rows(weight, sets), mean_rows(bias[:, None], sets)[:, 0]
    if rows is not None and hidden.device.type == "cpu" and torch.is_grad_enabled():
        product: Tensor = _AskedProducts.apply(hidden, weight, rows, dropout)  # type: ignore[no-untyped-call]
        return product + bias.index_select(0, rows)
    asked, bias = (weight, bias) if rows is None else (weight[rows], bias[rows])
    return (F.dropout(hidden, dropout) * asked).sum(1) + bias


class _AskedProducts(torch.autograd.Function):
    """Row by row products of `hidden` [S, H], after dropout, and `weight[rows]`, which is never held as a whole."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, rows: Tensor, dropout: float) -> Tensor:
        ctx.dropped = min(round(dropout * LEVELS), LEVELS - 1)
        ctx.bits = random_bits(hidden.shape) if ctx.dropped else None
        ctx.save_for_backward(hidden, weight, rows)
        product = hidden.new_empty(len(hidden))
        buffers = hidden.new_empty(2, min(_PIECE, len(hidden)), hidden.shape[1])
        for piece in _pieces(len(hidden)):
            asked, kept = buffers[:, : len(rows[piece])]
            torch.index_select(weight, 0, rows[piece], out=asked)
            asked.mul_(hidden[piece])
            if ctx.bits is not None:
                asked.mul_(torch.ge(ctx.bits[piece], ctx.dropped - LEVELS // 2, out=kept))
            torch.sum(asked, 1, out=product[piece])
        return product.mul_(LEVELS / (LEVELS - ctx.dropped))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, rows = ctx.saved_tensors
        gradient = gradients[0][:, None] * (LEVELS / (LEVELS - ctx.dropped))
        d_hidden, d_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        buffers = hidden.new_empty(2, min(_PIECE, len(hidden)), hidden.shape[1])
        for piece in _pieces(len(hidden)):
            part, kept = buffers[:, : len(rows[piece])]
            outer = gradient[piece]
            if ctx.bits is not None:
                outer = torch.ge(ctx.bits[piece], ctx.dropped - LEVELS // 2, out=kept).mul_(outer)
            torch.index_select(weight, 0, rows[piece], out=d_hidden[piece])
            d_hidden[piece].mul_(outer)
            d_weight.index_add_(0, rows[piece], torch.mul(hidden[piece], outer, out=part))
        return d_hidden, d_weight, None, None


def _pieces(rows: int) -> list[slice]:
    return [slice(start, start + _PIECE) for start in range(0, rows, _PIECE)]
