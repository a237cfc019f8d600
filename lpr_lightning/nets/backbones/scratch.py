"""Small language models with random weights, for runs without any download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.nets import shared_prompt

Family = Literal["llama", "mistral", "qwen2", "qwen3"]
_WIDER = 3.0
"""Embeddings are drawn so many times wider: with the usual ones, which adapters leave as they are, logits never differ
by more than 1 or 2."""
_PAD, _END = "<|pad|>", "<|end|>"


@dataclass(frozen=True)
class SmallModel:
    """A model of one of the known families, trained from scratch, and a tokenizer trained on the prompts' words.

    Args:
        family: `llama`, `mistral`, `qwen2` or `qwen3`.
        hidden_size: width.
        num_layers: layers.
        num_heads: attention heads; must divide `hidden_size`.
        num_key_value_heads: heads of keys and values; None takes as many.
        vocabulary_size: tokens, at least 320; a byte-level byte-pair encoding fills what it needs of them.
        longest_text: most tokens of a prompt and its path.

    Raises:
        SettingError: an argument outside its range.
    """

    family: Family = "qwen2"
    hidden_size: int = 64
    num_layers: int = 2
    num_heads: int = 4
    num_key_value_heads: int | None = None
    vocabulary_size: int = 1024
    longest_text: int = 4096

    def __post_init__(self) -> None:
        if self.family not in get_args(Family):
            raise SettingError("family", self.family, f"one of {', '.join(get_args(Family))}")
        for name, value, least in (
            *(("hidden_size", self.hidden_size, 2), ("num_layers", self.num_layers, 1)),
            *(("num_heads", self.num_heads, 1), ("longest_text", self.longest_text, 1)),
            ("vocabulary_size", self.vocabulary_size, 320),
        ):
            checked(name, value, least)
        if self.hidden_size % (2 * self.num_heads):
            raise SettingError("hidden_size", self.hidden_size, f"a multiple of 2 * num_heads = {2 * self.num_heads}")
        if self.num_heads % (self.num_key_value_heads or self.num_heads):
            raise SettingError("num_key_value_heads", self.num_key_value_heads, f"a divisor of {self.num_heads}")

    def model(self, more_tokens: int = 0) -> Any:
        """Return the model, its vocabulary larger by `more_tokens`."""
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.for_model(
            self.family,
            vocab_size=self.vocabulary_size + more_tokens,
            hidden_size=self.hidden_size,
            intermediate_size=2 * self.hidden_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.num_heads,
            num_key_value_heads=self.num_key_value_heads or self.num_heads,
            head_dim=self.hidden_size // self.num_heads,
            max_position_embeddings=self.longest_text,
            initializer_range=self.hidden_size**-0.5,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
        )
        model = AutoModelForCausalLM.from_config(config, attn_implementation=shared_prompt.NAME)
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(_WIDER)
        return model

    def tokenizer(self, texts: Sequence[str], new_tokens: Sequence[str]) -> Any:
        """Return a tokenizer trained on texts; `new_tokens` have the numbers from 2 on."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        plain = Tokenizer(models.BPE())
        plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        plain.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary_size + len(new_tokens),
            special_tokens=[_PAD, _END, *new_tokens],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        plain.train_from_iterator(texts, trainer)
        return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token=_PAD, eos_token=_END)


def tokenizer_from_json(text: str) -> Any:
    """Return a tokenizer that `SmallModel.tokenizer` made, from its JSON."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text), pad_token=_PAD, eos_token=_END)
