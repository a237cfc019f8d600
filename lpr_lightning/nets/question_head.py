"""What turns a learner's state and a question's vector into the chance of success."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CPU_ROWS = 128
"""Rows of a block that is added, rectified and summed while it lies in a core's second cache."""
GPU_ROWS = 16_384


class QuestionHead(nn.Module):
    """Classifier F(h, z) of ExRec (eq. 12): a = ReLU(W1 h), b = ReLU(W2 z), logit = w ReLU(W3 [a; b] + b3) + b4.

    W3 [a; b] is W3a a + W3b b exactly, so that each state and each vector is taken up to `head_size` once (a "half")
    and only their sum, the rectifier and the last product are left for each pair.

    Differs from the paper:
    1. The appendix speaks of one linear layer from the state to 768; the authors' code has the head above.

    Args:
        hidden_size: Width of the state.
        vector_size: Width of the question vectors.
        head_size: Width of W3's output.

    >>> head = QuestionHead(3, 4, 5)
    >>> state, vector = torch.randn(2, 3), torch.randn(6, 4)
    >>> grid = head.logits(head.state_half(state)[None], head.vector_half(vector))[0]
    >>> plain = head(state[:, None].expand(-1, 6, -1), vector.expand(2, -1, -1))
    >>> grid.shape, torch.allclose(grid, plain, atol=1e-5)
    (torch.Size([2, 6]), True)
    """

    def __init__(self, hidden_size: int, vector_size: int, head_size: int = 1200) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.state_layer = nn.Linear(hidden_size, hidden_size)
        self.vector_layer = nn.Linear(vector_size, hidden_size)
        self.joint = nn.Linear(2 * hidden_size, head_size)
        self.output = nn.Linear(head_size, 1)

    def forward(self, state: Tensor, vector: Tensor) -> Tensor:
        """Return the logits [...] of states [..., H] and vectors [..., D], one pair after the other."""
        pair = torch.cat([self.state_layer(state).relu(), self.vector_layer(vector).relu()], -1)
        logit: Tensor = self.output(self.joint(pair).relu()).squeeze(-1)
        return logit

    def state_half(self, state: Tensor) -> Tensor:
        """Return what states [..., H] bring to the joint layer, [..., U]."""
        return F.linear(self.state_layer(state).relu(), self.joint.weight[:, : self.hidden_size])

    def vector_half(self, vector: Tensor) -> Tensor:
        """Return what vectors [..., D] bring to the joint layer, its bias included, [..., U]."""
        return F.linear(self.vector_layer(vector).relu(), self.joint.weight[:, self.hidden_size :], self.joint.bias)

    def pairs(self, state_half: Tensor, vector_half: Tensor, row: Tensor) -> Tensor:
        """Return the logits [S] of states [S, U], each with the row `row` [S] of the vectors' halves [V, U]."""
        if torch.is_grad_enabled() and (state_half.requires_grad or vector_half.requires_grad):
            joint = (state_half + F.embedding(row, vector_half)).relu_()
            return F.linear(joint, self.output.weight, self.output.bias).squeeze(-1)
        state_half, vector_half, weight = self._alike(state_half, vector_half)
        with torch.no_grad(), torch.autocast(row.device.type, enabled=False):
            most = min(len(row), CPU_ROWS if row.device.type == "cpu" else GPU_ROWS)
            logit, buffer = state_half.new_empty(len(row)), state_half.new_empty(most, state_half.shape[1])
            for states, index, part in zip(*(torch.split(one, max(most, 1)) for one in (state_half, row, logit))):
                joint = torch.index_select(vector_half, 0, index, out=buffer[: len(index)])
                torch.mv(joint.add_(states).relu_(), weight, out=part)
            return logit.add_(self.output.bias)

    def logits(self, state_half: Tensor, vector_half: Tensor, row: Tensor | None = None) -> Tensor:
        """Return the logits of each row's G states with each of its vectors.

        Args:
            state_half: [B, G, U].
            vector_half: [V, U].
            row: Which of the vectors' halves each row is asked about, [B, M]; None: all of them.

        Returns:
            [B, G, M], or [B, G, V]. Memory for gradients grows with their number times U.
        """
        if row is not None and state_half.shape[1] == row.shape[1] == 1:
            return self.pairs(state_half[:, 0], vector_half, row[:, 0])[:, None, None]
        if torch.is_grad_enabled() and (state_half.requires_grad or vector_half.requires_grad):
            asked = vector_half if row is None else F.embedding(row, vector_half)[:, None]
            joint = (state_half[:, :, None] + asked).relu_()
            return F.linear(joint, self.output.weight, self.output.bias).squeeze(-1)
        state_half, vector_half, weight = self._alike(state_half, vector_half)
        with torch.no_grad(), torch.autocast(state_half.device.type, enabled=False):
            if row is None:
                grid = self._blocks(state_half.flatten(0, 1)[None], vector_half, weight, None)
                return grid.view(*state_half.shape[:2], len(vector_half))
            return self._blocks(state_half, vector_half, weight, row)

    def state_weights(self) -> list[Tensor]:
        """Return what `state_half` is computed from, besides the states."""
        return [self.state_layer.weight, self.state_layer.bias, self.joint.weight]

    def vector_weights(self) -> list[Tensor]:
        """Return what `vector_half` is computed from, besides the vectors."""
        return [self.vector_layer.weight, self.vector_layer.bias, self.joint.weight, self.joint.bias]

    def _alike(self, state_half: Tensor, vector_half: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return both halves and the last product's weight in the widest type among them; autocast narrows some."""
        weight = self.output.weight.squeeze(0)
        kind = torch.promote_types(torch.promote_types(state_half.dtype, vector_half.dtype), weight.dtype)
        return state_half.to(kind), vector_half.to(kind), weight.to(kind)

    def _blocks(self, state_half: Tensor, vector_half: Tensor, weight: Tensor, row: Tensor | None) -> Tensor:
        """Return [B, G, M], block by block in one reused buffer; without `row`, B is 1."""
        rows, states, width = state_half.shape
        asked = len(vector_half) if row is None else row.shape[1]
        most = CPU_ROWS if state_half.device.type == "cpu" else GPU_ROWS
        wide = max(1, min(asked, most))
        high = max(1, min(states, most // wide))
        deep = max(1, min(rows, most // (high * wide)))
        logit = state_half.new_empty(rows, states, asked)
        buffer = state_half.new_empty(deep * high * wide, width)
        for first in range(0, rows, deep):
            for left in range(0, asked, wide):
                if row is None:
                    others = vector_half[None, None, left : left + wide]
                else:
                    others = F.embedding(row[first : first + deep, left : left + wide], vector_half)[:, None]
                for top in range(0, states, high):
                    some = state_half[first : first + deep, top : top + high, None]
                    shape = len(some), some.shape[1], others.shape[2]
                    block = buffer[: shape[0] * shape[1] * shape[2]]
                    torch.add(some, others, out=block.view(*shape, width)).relu_()
                    part = torch.mv(block, weight).view(shape)
                    logit[first : first + deep, top : top + high, left : left + wide] = part
        return logit.add_(self.output.bias)
