"""Attention of many continuations to one prompt, without a copy of the prompt for each.

Registered with transformers as the attention implementation `shared_prompt`, so that any of its decoders can use it.
K continuations of a prompt stand side by side on the batch axis; they meet the prompt's keys and values as if they
were K times as many queries of one row, which is the same product at a K-th of the memory traffic, with gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "shared_prompt"


@dataclass(frozen=True)
class SharedPrompt:
    """Keys and values of B prompts after their pass: `cache`, and `mask` [B, P], True on real tokens, padded left."""

    cache: DynamicCache
    mask: Tensor

    @cached_property
    def even(self) -> bool:
        """Whether the prompts are all of one length, so that nothing need be hidden."""
        return bool(self.mask.all())

    def select(self, index: Tensor) -> SharedPrompt:
        """Return the prompts at `index`."""
        chosen = DynamicCache()
        for number, layer in enumerate(self.cache.layers):
            chosen.update(layer.keys[index], layer.values[index], number)
        return SharedPrompt(chosen, self.mask[index])


def shared_prompt_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    shared_prompt: SharedPrompt | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend to the prompt and to the continuation so far; `query`, `key` and `value` [B * K, heads, T, D].

    Without `shared_prompt` (the prompt's own pass) this is plain scaled dot-product attention. With `sliding_window` a
    token sees that many tokens, itself included, counted from the prompt's first real one.
    """
    if shared_prompt is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **others)
        return output, None
    layer = shared_prompt.cache.layers[module.layer_idx]
    batch, heads, steps, width = query.shape
    prompts = shared_prompt.mask.shape[0]
    copies = heads // key.shape[1]
    key, value, prompt_key, prompt_value = (
        part.repeat_interleave(copies, 1) if copies > 1 else part for part in (key, value, layer.keys, layer.values)
    )
    scale = width**-0.5 if scaling is None else scaling
    query = query * scale
    grouped = query.view(prompts, -1, heads, steps, width).transpose(1, 2).reshape(prompts, heads, -1, width)
    to_prompt = grouped @ prompt_key.transpose(2, 3)
    lowest = torch.finfo(to_prompt.dtype).min
    hidden = None if shared_prompt.even else ~shared_prompt.mask[:, None, None]
    size, first = to_prompt.shape[3], key.shape[2] - steps
    place = torch.arange(key.shape[2], device=query.device)
    if sliding_window is not None:
        ahead = shared_prompt.mask.sum(1)[:, None] + place[first:]  # position of each query [B, T]
        behind = ahead[:, :, None] - (shared_prompt.mask.cumsum(1) - 1)[:, None] >= sliding_window
        behind = behind.repeat(1, grouped.shape[2] // steps, 1)[:, None]
        hidden = behind if hidden is None else hidden | behind
    if hidden is not None:
        to_prompt = to_prompt.masked_fill(hidden, lowest)
    to_prompt = to_prompt.view(prompts, heads, -1, steps, size).transpose(1, 2).reshape(batch, heads, steps, size)
    to_path = query @ key.transpose(2, 3)
    distance = place[first:, None] - place
    unseen = distance < 0 if sliding_window is None else (distance < 0) | (distance >= sliding_window)
    if steps > 1 or sliding_window is not None:
        to_path = to_path.masked_fill(unseen, lowest)
    weight = torch.cat([to_prompt, to_path], 3).softmax(3)
    if dropout and module.training:
        weight = torch.nn.functional.dropout(weight, dropout)
    from_prompt, from_path = weight[..., :size], weight[..., size:]
    from_prompt = from_prompt.view(prompts, -1, heads, steps, size).transpose(1, 2).reshape(prompts, heads, -1, size)
    read = (from_prompt @ prompt_value).view(prompts, heads, -1, steps, width).transpose(1, 2)
    output = read.reshape(batch, heads, steps, width) + from_path @ value
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, shared_prompt_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
