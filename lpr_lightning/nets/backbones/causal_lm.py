"""A causal language model that reads prompts once and continues each of them K times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache

from lpr_lightning.errors import SettingError
from lpr_lightning.nets.shared_prompt import SharedPrompt

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose attention is known to take a shared prompt."""
_CHANGING = ("dynamic", "longrope")
"""Rotary embeddings that depend on the whole length: a prompt's keys would not be those of the prompt and its path."""


@dataclass(frozen=True)
class ReadPrompt:
    """B prompts after their pass: keys and values, the last token's output `last` [B, D], real tokens `length` [B]."""

    shared: SharedPrompt
    last: Tensor
    length: Tensor

    def select(self, index: Tensor) -> ReadPrompt:
        """Return the prompts at `index`."""
        return ReadPrompt(self.shared.select(index), self.last[index], self.length[index])


def check_family(config: Any) -> None:
    """Refuse a model whose attention might not be what the shared prompt takes it for.

    Raises:
        SettingError: names the families that are known.
    """
    if config.model_type not in FAMILIES:
        advice = "or use backbone SmallQwen2 or ConceptScorer"
        raise SettingError("path", config.model_type, f"a model of one of the families {', '.join(FAMILIES)}", advice)
    rotary = (config.rope_parameters or {}).get("rope_type", "default")
    if rotary in _CHANGING:
        raise SettingError("rope_type", rotary, "rotary embeddings that do not depend on the length of the text")


class CausalLM(nn.Module):
    """The calls of a model of one of `FAMILIES`, with or without adapters, that writing paths needs.

    `read` runs over prompts, `extend` over continuations, which share the keys and values of their prompt; `whole` runs
    over both together, for gradient checkpointing, which keeps no keys and values.

    Args:
        model: a model for causal language modelling, or a PeftModel over one, with attention `shared_prompt`.

    Raises:
        SettingError: a model of another family.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        base: Any = model  # a PeftModel, or the model itself
        self.plain: list[Any] = [base.get_base_model() if hasattr(base, "get_base_model") else base]
        check_family(self.config)

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.plain[0].config

    def read(self, token: Tensor, mask: Tensor) -> ReadPrompt:
        """Run over prompts [B, P], real tokens (`mask`) at the right end, with gradients."""
        output = self.plain[0].model(
            input_ids=token,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp_min(0),
            past_key_values=DynamicCache(),
            use_cache=True,
        )
        return ReadPrompt(SharedPrompt(output.past_key_values, mask), output.last_hidden_state[:, -1], mask.sum(1))

    def extend(self, prompt: ReadPrompt, token: Tensor, start: int = 0, cache: DynamicCache | None = None) -> Tensor:
        """Return the outputs [B * K, T, D] after tokens [B * K, T], the first being number `start` of its path."""
        place = torch.arange(start, start + token.shape[1], device=token.device)
        position = prompt.length.repeat_interleave(len(token) // len(prompt.length))[:, None] + place
        output = self.plain[0].model(
            input_ids=token,
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=token.device),  # the attention makes its own
            position_ids=position,
            past_key_values=cache,
            use_cache=cache is not None,
            shared_prompt=prompt.shared,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def whole(self, prompt: Tensor, mask: Tensor, token: Tensor) -> Tensor:
        """Return the outputs [B * K, 1 + T, D] after prompts [B, P] and tokens [B * K, T], without shared keys."""
        count = len(token) // len(prompt)
        mask = torch.cat([mask.repeat_interleave(count, 0), mask.new_ones(token.shape)], 1)
        output = self.plain[0].model(
            input_ids=torch.cat([prompt.repeat_interleave(count, 0), token], 1),
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp_min(0),
            use_cache=False,
        )
        hidden: Tensor = output.last_hidden_state[:, prompt.shape[1] - 1 :]
        return hidden

    def logits(self, hidden: Tensor, column: Tensor | None = None) -> Tensor:
        """Return logits [..., V], or [..., U] of the tokens `column` [U] alone, in float32 at least."""
        head = self.plain[0].lm_head
        if column is not None and type(head) is nn.Linear and head.bias is None:
            found: Tensor = F.linear(hidden, F.embedding(column, head.weight))
        else:
            found = head(hidden)
            found = found if column is None else found.index_select(-1, column)
        return found if found.dtype == torch.float64 else found.float()
