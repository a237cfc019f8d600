"""Attention over a learner's earlier answers, run over whole logs or one answer at a time with the same parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.nets.fast_dropout import FastDropout


class HistoryAttention(nn.Module):
    """Lets questions look at the `window` answers before them, and at nothing else.

    Queries and keys are one projection of the questions, values a projection of the interactions. What stands before
    a learner's first answer is a learned key and value, always in sight. Positions are relative: each head adds a
    learned number for each distance from 1 to `window`, which starts as a slope (steeper from head to head).

    >>> net = HistoryAttention(width=8, num_heads=2, window=3, dropout=0.0)
    >>> question, interaction = torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    >>> net.whole(*net.remember(question, interaction)).shape
    torch.Size([1, 5, 8])
    """

    def __init__(self, width: int, num_heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.dropout = FastDropout(dropout)
        self.first_key = nn.Parameter(torch.empty(width))
        self.first_value = nn.Parameter(torch.empty(width))
        self.distance = nn.Parameter(torch.empty(num_heads, window))
        for layer in (self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.first_key, std=0.02)
        nn.init.zeros_(self.first_value)
        slope = 0.5 ** torch.linspace(2, 8, num_heads)
        with torch.no_grad():
            self.distance.copy_(-slope[:, None] * torch.arange(window))

    def remember(self, question: Tensor, interaction: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of answers, [B, T, D] each."""
        return self.key(question), self.value(interaction)

    def whole(self, keys: Tensor, values: Tensor) -> Tensor:
        """Return what the question of each answer sees of the answers before it, [B, T, D].

        Work and memory grow with T times the window.
        """
        steps, parts = keys.shape[1], []
        values = self.dropout(values)
        for start in range(0, max(steps, 1), self.window):
            stop, first = min(start + self.window, steps), max(start - self.window, 0)
            now = torch.arange(start, stop, device=keys.device)[:, None]
            distance = now - torch.arange(first, stop, device=keys.device)
            seen = (distance > 0) & (distance <= self.window)
            bias = self.distance[:, (distance - 1).clamp(0, self.window - 1)].masked_fill(~seen, -torch.inf)
            parts.append(self._attend(keys[:, start:stop], keys[:, first:stop], values[:, first:stop], bias[None]))
        return torch.cat(parts, 1)

    def recall(self, question: Tensor, keys: Tensor, values: Tensor, length: Tensor) -> Tensor:
        """Return what each of the questions [B, A, D] sees of cached answers, [B, A, D].

        The cache [B, W, D] is aligned to the right: its last `length` [B] places are filled.
        """
        seen = torch.arange(self.window, 0, -1, device=length.device) <= length[:, None]
        bias = self.distance.flip(1)[None, :, None].masked_fill(~seen[:, None, None], -torch.inf)
        return self._attend(self.key(question), keys, values, bias)

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Attend with `bias` [B or 1, heads, S or 1, T] added to the scores; -inf hides an answer."""
        rows, count, width = query.shape
        bias = F.pad(bias, (1, 0)).expand(-1, -1, count, -1)
        keys = torch.cat([self.first_key.expand(rows, 1, width), keys], 1)
        values = torch.cat([self.first_value.expand(rows, 1, width), values], 1)
        seen = F.scaled_dot_product_attention(
            self._heads(query),
            self._heads(keys),
            self._heads(values),
            attn_mask=bias,
        )
        output: Tensor = self.output(seen.transpose(1, 2).reshape(rows, count, width))
        return output

    def _heads(self, value: Tensor) -> Tensor:
        return value.view(*value.shape[:2], self.num_heads, value.shape[2] // self.num_heads).transpose(1, 2)


class HistoryBlock(nn.Module):
    """A block of attention over earlier answers and a feed-forward net, each with residual and layer norm after it."""

    def __init__(self, width: int, num_heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.attention = HistoryAttention(width, num_heads, window, dropout)
        self.feedforward = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), FastDropout(dropout), nn.Linear(2 * width, width)
        )
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = FastDropout(dropout)

    def forward(self, question: Tensor, seen: Tensor) -> Tensor:
        """Return the questions [B, S, D] enriched by what the attention has `seen` [B, S, D]."""
        question = self.attention_norm(question + self.dropout(seen))
        output: Tensor = self.feedforward_norm(question + self.dropout(self.feedforward(question)))
        return output
