"""How much memory a language model takes as a policy, before anything is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lpr_lightning.nets.backbones.causal_lm import check_family
from lpr_lightning.nets.pretrained import LoRA, Precision, dtype_of

_ADAM = 16
"""Bytes of a trained float32 weight: itself, its gradient, and the two moments of Adam."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device: the model's own `weights`, what is `trained` with gradients and moments of Adam, keys and
    values while paths are sampled (`cache`), and what an update keeps for its backward pass (`update`)."""

    weights: int
    trained: int
    cache: int
    update: int

    @property
    def total(self) -> int:
        """The most at one time: sampling and updating take turns."""
        return self.weights + self.trained + max(self.cache, self.update)


def memory_estimate(
    config: Any,
    lora: LoRA | None,
    precision: Precision = "bfloat16",
    prompts: int = 1,
    group_size: int = 16,
    prompt_tokens: int = 1024,
    path_tokens: int = 128,
    gradient_checkpointing: bool = True,
) -> Memory:
    """Return what a model of this configuration takes; weights are counted on the meta device, which holds none.

    An update keeps, with gradient checkpointing, one hidden state for each layer and token and the inside of one layer,
    of prompts that are read anew for each path; without, the inside of all layers, attention's weights included, of
    prompts that are read once; and twice the logits of path tokens in float32. Fragmentation and the device's own
    context come on top: a tenth is a good margin.

    Args:
        config: of transformers.
        lora: adapters; None trains all weights.
        precision: of the model's own weights.
        prompts: requests of a batch, on one device.
        group_size: K.
        prompt_tokens: of a prompt.
        path_tokens: of a path.
        gradient_checkpointing: as in `HuggingFace`.

    Raises:
        SettingError: a model of another family.
    """
    from transformers import AutoModelForCausalLM

    check_family(config)
    size = dtype_of(precision).itemsize
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype_of(precision))
        model = model if lora is None else lora.on(model)
    own = sum(weight.numel() for weight in model.parameters() if lora is None or not weight.requires_grad)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    width, layers, rows = config.hidden_size, config.num_hidden_layers, prompts * group_size
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or width // heads
    once, anew = prompts * prompt_tokens + rows * path_tokens, rows * (prompt_tokens + path_tokens)
    inside = 8 * width + 3 * config.intermediate_size  # norms, queries, keys, values, outputs, sums; the gate's parts
    if lora is not None and size < 4:
        inside += 4 // size * (6 * width + config.intermediate_size)  # what adapters read, in float32
    scores = 3 * heads * rows * path_tokens * (prompt_tokens + path_tokens)  # of paths that share their prompt
    kept = anew * (layers * width + inside) if gradient_checkpointing else layers * (once * inside + scores)
    return Memory(
        weights=own * size if lora is not None else 0,
        trained=trained * _ADAM,
        cache=2 * layers * config.num_key_value_heads * head * size * once,
        update=kept * size + 2 * 4 * rows * path_tokens * config.vocab_size,
    )
