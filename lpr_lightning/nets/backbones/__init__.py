"""Language models of transformers as networks that write learning paths."""

from __future__ import annotations

from lpr_lightning.nets.backbones.hugging_face import HuggingFace
from lpr_lightning.nets.backbones.prompts import ConceptTokens, TextPrompt
from lpr_lightning.nets.backbones.scratch import SmallModel

__all__ = ["ConceptTokens", "HuggingFace", "SmallModel", "TextPrompt"]
