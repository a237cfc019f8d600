"""A WordPiece vocabulary fitted on texts, the same in every run."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

INSIDE = "##"
"""Begins a piece that does not begin a word."""
LEAST_COUNT = 2
"""Pairs of pieces that are met less often are not joined."""


def word_pieces(texts: Sequence[str], size: int, marks: Sequence[str] = ()) -> Tokenizer:
    """Return a WordPiece tokenizer as BERT's (Devlin et al. 2019), in lower case, fitted on texts.

    The trainer of the package `tokenizers` breaks ties by chance; this one by the pieces themselves.

    Args:
        texts: to be fitted on.
        size: most pieces, marks included; every letter of the texts is one even where that is more.
        marks: tokens of their own, such as `[Q]`.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *marks]
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    pieces = [*special, *fitted_pieces(words, size - len(special))][:size]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.add_special_tokens(special)
    ends = [(mark, vocabulary[mark]) for mark in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def fitted_pieces(words: Mapping[str, int], size: int) -> list[str]:
    """Return at most `size` pieces: letters, the commonest first, then the commonest pairs of pieces, joined in turn.

    >>> fitted_pieces({"low": 3, "lower": 2}, size=8)
    ['##o', '##w', 'l', '##e', '##r', '##ow', 'low', '##er']
    """
    split = [[word[0], *(INSIDE + letter for letter in word[1:])] for word in words]
    weight = list(words.values())
    letters: Counter[str] = Counter()
    for pieces, count in zip(split, weight):
        for piece in pieces:
            letters[piece] += count
    found = sorted(letters, key=lambda piece: (-letters[piece], piece))
    counts: Counter[tuple[str, str]] = Counter()
    places: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for place, pieces in enumerate(split):
        for pair in pairwise(pieces):
            counts[pair] += weight[place]
            places[pair].add(place)
    known = set(found)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    while heap and len(found) < size:
        negative, pair = heapq.heappop(heap)
        if -negative != counts[pair]:
            continue
        if counts[pair] < LEAST_COUNT:
            break
        joined = pair[0] + pair[1].removeprefix(INSIDE)
        if joined not in known:
            known.add(joined)
            found.append(joined)
        for changed in sorted(_join(pair, joined, split, weight, counts, places)):
            heapq.heappush(heap, (-counts[changed], changed))
    return found[:size]


def _join(
    pair: tuple[str, str],
    joined: str,
    split: list[list[str]],
    weight: Sequence[int],
    counts: Counter[tuple[str, str]],
    places: Mapping[tuple[str, str], set[int]],
) -> set[tuple[str, str]]:
    """Join a pair in every word that has it; return the pairs whose counts changed."""
    changed: set[tuple[str, str]] = set()
    for place in list(places[pair]):
        pieces, count = split[place], weight[place]
        for one in pairwise(pieces):
            counts[one] -= count
            changed.add(one)
        merged: list[str] = []
        for piece in pieces:
            if merged and (merged[-1], piece) == pair:
                merged[-1] = joined
            else:
                merged.append(piece)
        split[place] = merged
        for one in pairwise(merged):
            counts[one] += count
            places[one].add(place)
            changed.add(one)
    places[pair].clear()
    counts[pair] = 0
    return changed - {pair}
