"""Models of transformers, by path or hub name, and low-rank adapters on them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import torch
from torch import nn

from lpr_lightning.errors import MissingFileError, SettingError, checked

if TYPE_CHECKING:
    from peft import PeftModel

Precision = Literal["float32", "bfloat16", "float16"]
"""What weights are kept in."""
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class LoRA:
    """Low-rank adapters (Hu et al., 2021, arXiv 2106.09685), which are trained in place of the model's own weights.

    Args:
        rank: of each adapter.
        alpha: their output is scaled by alpha / rank.
        dropout: on their input, in [0, 1).
        layers: `all-linear`, every linear layer but the output's, or the names of layers.

    Raises:
        SettingError: an argument outside its range.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    layers: str | list[str] = "all-linear"

    def __post_init__(self) -> None:
        checked("rank", self.rank, 1)
        checked("dropout", self.dropout, 0.0, 1.0)

    def on(self, model: nn.Module, tokens: Sequence[int] = ()) -> PeftModel:
        """Return the model with adapters; of its embeddings the rows of `tokens` are trained, nothing else.

        Where input and output embeddings are not tied, the rows of both are.
        """
        from peft import LoraConfig, get_peft_model

        rows: dict[str, list[int]] | None = None
        if len(tokens):
            rows = {"embed_tokens": list(tokens)}
            if not _config(model).tie_word_embeddings:
                rows["lm_head"] = list(tokens)
        settings = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=self.layers,
            trainable_token_indices=rows,
            task_type="CAUSAL_LM" if hasattr(model, "lm_head") else "FEATURE_EXTRACTION",
        )
        with warnings.catch_warnings():  # peft asks transformers for an attribute by its old name
            warnings.simplefilter("ignore", FutureWarning)
            return get_peft_model(model, settings)


def load_pretrained(load: Callable[..., Loaded], path: str, **settings: object) -> Loaded:
    """Return what `from_pretrained` of a class of transformers makes of a folder or a hub name.

    Weights are read from safetensors alone, never from pickle, and no code of the repository is run. A folder is read
    without network; a hub name from the hub's cache or, where it is not there, from the network.

    Args:
        load: `AutoModel.from_pretrained`, `AutoTokenizer.from_pretrained` and the like.
        path: a folder that `save_pretrained` wrote, or `owner/name` of the hub.
        settings: handed on.

    Raises:
        MissingFileError: there is no such folder, or the hub does not give it.
    """
    folder = Path(path).expanduser()
    local = folder.is_dir()
    if not local and (folder.is_absolute() or path.startswith(".") or path.count("/") != 1):
        raise MissingFileError(
            "config.json", path, "give a folder that save_pretrained wrote, or owner/name of the hub"
        )
    try:
        return load(str(folder) if local else path, local_files_only=local, trust_remote_code=False, **settings)
    except (OSError, ValueError) as error:  # an empty folder is a ValueError to tokenizers
        advice = "complete the folder" if local else "check the name, or download it first: hf download " + path
        reason = str(error).strip().partition("\n")[0]
        raise MissingFileError(f"a whole model ({reason})", path, advice) from error


def load_model(load: Callable[..., Loaded], path: str, precision: Precision = "float32", **settings: object) -> Loaded:
    """Return a model of transformers with its weights in `precision`; see `load_pretrained`.

    Raises:
        SettingError: an unknown precision.
        MissingFileError: there is no such model.
    """
    return load_pretrained(load, path, dtype=dtype_of(precision), use_safetensors=True, **settings)


def dtype_of(precision: Precision) -> torch.dtype:
    """Return the type of tensors.

    >>> dtype_of("bfloat16")
    torch.bfloat16
    """
    if precision not in get_args(Precision):
        raise SettingError("precision", precision, f"one of {', '.join(get_args(Precision))}")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


def _config(model: nn.Module) -> Any:
    return vars(model)["config"]
