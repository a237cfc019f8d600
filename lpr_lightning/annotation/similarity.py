"""How alike questions are in their words, so that a new one is none that is there already."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.functional.text_rivals import letter_groups


class Vectors(Protocol):
    """Turns texts into vectors of length 1."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the vectors [N, D] of texts."""
        ...


class LetterVectors:
    """Counts of groups of three to five letters, damped by the logarithm, in hashed places; nothing is fitted.

    Args:
        width: D.

    >>> one, same, other = LetterVectors()(["What is 3 + 4?", "what is 3 + 4", "Name the capital of France."])
    >>> round(float(one @ same), 3), float(one @ other) < 0.2
    (1.0, True)
    """

    def __init__(self, width: int = 4096) -> None:
        self.width = width

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the vectors [N, D] of texts; a text without a letter has a vector of zeros, like no other."""
        table = torch.zeros(len(texts), self.width)
        for row, text in enumerate(texts):
            for group, count in Counter(letter_groups(text)).items():
                table[row, zlib.crc32(group.encode()) % self.width] += 1 + math.log(count)
        return F.normalize(table, dim=1)


class EncoderVectors:
    """Vectors of any encoder of `transformers`, the mean over a text's tokens.

    Args:
        path: a folder, or a name on the hub.

    Raises:
        SettingError: there is no such model.
    """

    def __init__(self, path: str) -> None:
        from lpr_lightning.nets.text_encoder import PretrainedEncoder, TextEncoder

        self._encoder = TextEncoder(PretrainedEncoder(path), pooling="mean").eval()

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the vectors [N, D] of texts."""
        return F.normalize(self._encoder(texts).float(), dim=1)


def nearest(vectors: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return how alike each text is to the nearest known one, and the place of that, [N] each.

    Args:
        vectors: [N, D].
        known: [M, D], at least one.
    """
    best = (vectors @ known.T).max(1)
    return best.values, best.indices
