"""Simple rivals of text encoders: rarity weighted word counts, BM25, latent semantic analysis."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_TAG = re.compile(r"<[^>]*>")
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\d_]{2,}|\d+")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, tags left out; a Chinese character is a word.

    >>> words("<b>Adding</b> 3 分数")
    ['adding', '3', '分', '数']
    """
    return _WORD.findall(_TAG.sub(" ", text.lower()))


def letter_groups(text: str) -> list[str]:
    """Return the groups of three to five letters within the words of a text, blanks around them included.

    >>> letter_groups("an ox")
    [' an', 'an ', ' an ', ' ox', 'ox ', ' ox ']
    """
    padded = [f" {word} " for word in words(text)]
    return [word[at : at + n] for word in padded for n in (3, 4, 5) for at in range(len(word) - n + 1)]


def tf_idf(texts: Sequence[str], letters: bool = False) -> Tensor:
    """Return vectors of counts, damped by the logarithm and weighted by rarity, of length 1, [N, V].

    A text without a word gets a vector of its own direction, so that it is like no other.

    >>> one, two, three = tf_idf(["red car", "red bus", "green tea"])
    >>> bool(one @ two > one @ three)
    True
    """
    counts = [Counter(letter_groups(text) if letters else words(text)) for text in texts]
    weights, rarity = _counted(counts)
    weights = (weights > 0) * (1 + weights.clamp_min(1).log()) * rarity
    empty = weights.sum(1) == 0
    own = torch.eye(len(texts))[:, empty]
    return F.normalize(torch.cat([weights, own], 1), dim=1)


def latent_semantics(texts: Sequence[str], width: int) -> Tensor:
    """Return the first singular vectors of `tf_idf`, scaled by their singular values, [N, width].

    >>> latent_semantics(["a red car", "a red bus", "green tea", "green leaf"], 2).shape
    torch.Size([4, 2])
    """
    left, size, _ = torch.linalg.svd(tf_idf(texts), full_matrices=False)
    vectors: Tensor = (left * size)[:, :width]
    return vectors


def bm25(queries: Sequence[str], texts: Sequence[str], saturation: float = 1.2, length: float = 0.75) -> Tensor:
    """Return the BM25 score (Robertson and Zaragoza 2009) of each text for each query, [C, Q].

    >>> bm25(["red"], ["red car", "green tea"]).gt(0)
    tensor([[ True, False]])
    """
    counts = [Counter(words(text)) for text in [*texts, *queries]]
    every, _ = _counted(counts)
    text, query = every[: len(texts)], every[len(texts) :]
    size = text.sum(1, keepdim=True)
    found = (text > 0).sum(0)
    rarity = ((len(texts) - found + 0.5) / (found + 0.5)).log1p()
    damped = text * (saturation + 1) / (text + saturation * (1 - length + length * size / size.mean().clamp_min(1)))
    return query.clamp_max(1) @ (damped * rarity).T


def _counted(counts: Sequence[Counter[str]]) -> tuple[Tensor, Tensor]:
    """Return counts [N, V] and the rarity [V] of each word, log((1 + N) / (1 + n)) + 1."""
    column = {word: number for number, word in enumerate(sorted({word for one in counts for word in one}))}
    table = torch.zeros(len(counts), len(column))
    for row, one in enumerate(counts):
        for word, count in one.items():
            table[row, column[word]] = count
    return table, ((1 + len(counts)) / (1 + (table > 0).sum(0))).log() + 1
