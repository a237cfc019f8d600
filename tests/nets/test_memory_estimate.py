"""The memory of a policy, counted without any weights, against small models that are there."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, GPT2Config, Qwen2Config

from lpr_lightning.errors import SettingError
from lpr_lightning.nets.backbones import SmallModel
from lpr_lightning.nets.backbones.memory import memory_estimate
from lpr_lightning.nets.pretrained import LoRA

QWEN_7B = Qwen2Config(
    vocab_size=152064,
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    tie_word_embeddings=False,
)


def test_the_papers_backbone_fits_a_card_of_40_gigabytes() -> None:
    memory = memory_estimate(QWEN_7B, LoRA(16), group_size=8, path_tokens=200)
    assert memory.weights == 2 * 7_615_616_512  # the published number of parameters, bfloat16
    inputs_and_outputs = 28 * (2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18944))
    assert memory.trained == 16 * 16 * inputs_and_outputs  # rank 16, 16 bytes a weight
    assert 20e9 < memory.total < 26e9
    without = memory_estimate(QWEN_7B, LoRA(16), group_size=8, path_tokens=200, gradient_checkpointing=False)
    assert without.update > 2 * memory.update


def test_a_small_model_takes_what_was_counted() -> None:
    small = SmallModel("qwen3", 32, 2, 4, 2)
    model = small.model()
    settings = model.config
    adapted = LoRA(4).on(model)
    memory = memory_estimate(settings, LoRA(4), "float32", 3, 5, 7, 2)
    weights = list(adapted.parameters())
    assert memory.weights == sum(4 * one.numel() for one in weights if not one.requires_grad)
    assert memory.trained == sum(16 * one.numel() for one in weights if one.requires_grad)
    cache = DynamicCache()
    model(torch.zeros(3, 7, dtype=torch.int64), past_key_values=cache)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert memory_estimate(settings, None, "float32", 3, 5, 7, 0).cache == held
    assert memory_estimate(settings, None, "float32", 3).weights == 0


def test_another_family_is_refused() -> None:
    with pytest.raises(SettingError, match="gpt2"):
        memory_estimate(GPT2Config(), LoRA())
