"""Settings of a language model of transformers that writes learning paths."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.nets import shared_prompt
from lpr_lightning.nets.backbones.causal_lm import check_family
from lpr_lightning.nets.backbones.language_net import LanguageModelNet
from lpr_lightning.nets.backbones.prompts import PromptStyle, TextPrompt
from lpr_lightning.nets.backbones.scratch import SmallModel
from lpr_lightning.nets.path_net import Backbone
from lpr_lightning.nets.pretrained import LoRA, Precision, dtype_of, load_model, load_pretrained


@dataclass(frozen=True)
class HuggingFace(Backbone):
    """A causal language model of transformers by path or hub name, as in IB-GRPO (arXiv 2601.14686), section 5.1.3.

    Llama, Mistral, Qwen2 and Qwen3 families. Of a loaded model with adapters, checkpoints hold the adapters alone; the
    folder or hub name must be there when they are loaded.

    Args:
        path: a folder that `save_pretrained` wrote, or `owner/name` of the hub; None makes a model with random weights.
        small: how large that is; None takes the defaults of `SmallModel`. Only without `path`.
        prompt: `TextPrompt` or `ConceptTokens`.
        lora: adapters; None trains all weights.
        constrained: let only concepts and the end be written; else any token of the vocabulary is.
        max_length: most concepts of a path; at least the longest wanted length.
        precision: of the model's own weights; adapters are float32. `bfloat16` halves the memory.
        gradient_checkpointing: keep no activations, at the cost of a second forward pass, and of reading the prompt
            anew for each of its K paths in the update.

    Raises:
        SettingError: an argument outside its range, or (when it is built) a model of another family.
        MissingFileError: (when it is built) there is no such model.
    """

    path: str | None = None
    small: SmallModel | None = None
    prompt: PromptStyle = field(default_factory=TextPrompt)
    lora: LoRA | None = field(default_factory=LoRA)
    constrained: bool = False
    max_length: int = 20
    precision: Precision = "float32"
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        checked("max_length", self.max_length, 1)
        dtype_of(self.precision)
        if self.path is not None and self.small is not None:
            raise SettingError("small", self.small, "null beside a path", "leave out one of the two")

    def build(self, num_concepts: int) -> LanguageModelNet:
        """Return the network for so many concepts."""
        new = self.prompt.new_tokens(num_concepts)
        tokenizer: Any = None
        small = (self.small or SmallModel()) if self.path is None else None
        if small is not None:
            model = small.model(len(new)).to(dtype_of(self.precision))
            added = list(range(2, 2 + len(new)))
        else:
            model, tokenizer = self._loaded(str(self.path))
            added = self._add(model, tokenizer, new)
        if self.gradient_checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
        if self.lora is not None:
            model = self.lora.on(model, added)
        return LanguageModelNet(
            num_concepts,
            model,
            self.prompt,
            tokenizer,
            small,
            added,
            self.constrained,
            self.max_length,
            self.gradient_checkpointing,
        )

    def _loaded(self, path: str) -> tuple[Any, Any]:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        check_family(load_pretrained(AutoConfig.from_pretrained, path))
        load = AutoModelForCausalLM.from_pretrained
        model = load_model(load, path, self.precision, attn_implementation=shared_prompt.NAME)
        return model, load_pretrained(AutoTokenizer.from_pretrained, path)

    def _add(self, model: Any, tokenizer: Any, new: list[str]) -> list[int]:
        """Add tokens to the vocabulary; return their numbers."""
        if not new:
            return []
        tokenizer.add_tokens(new, special_tokens=True)
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        return [int(tokenizer.convert_tokens_to_ids(token)) for token in new]
