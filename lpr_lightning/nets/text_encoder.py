"""Texts to vectors: any encoder of transformers, or a small BERT whose vocabulary is fitted on the texts at hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.hparams import built
from lpr_lightning.nets.pretrained import load_model, load_pretrained
from lpr_lightning.nets.word_pieces import word_pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

Kind = Literal["[Q]", "[S]", "[KC]"]
Pooling = Literal["cls", "mean"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LEAST_CHUNK = 16
"""Texts that go through the encoder together however different their lengths."""


class Encoder(ABC):
    """Which encoder: builds the network and, where it has one already, its tokenizer."""

    @abstractmethod
    def network(self) -> PreTrainedModel:
        """Return the network."""

    @abstractmethod
    def tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer, which knows `KINDS`; None where its vocabulary is fitted on texts."""


@dataclass(frozen=True)
class SmallBert(Encoder):
    """A BERT (Devlin et al. 2019) from scratch, with a WordPiece vocabulary that is fitted on the training questions.

    Args:
        width: of the vectors.
        layers: number of layers.
        heads: attention heads, a divisor of `width`.
        feed_forward: inner width of a layer.
        vocabulary: most word pieces.
        positions: longest text, in word pieces.
        dropout: of hidden states and attention.

    Raises:
        SettingError: a number is out of its range.
    """

    width: int = 128
    layers: int = 2
    heads: int = 4
    feed_forward: int = 512
    vocabulary: int = 4000
    positions: int = 512
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "feed_forward", "positions"):
            checked(name, vars(self)[name], 1)
        checked("vocabulary", self.vocabulary, 64)
        checked("dropout", self.dropout, 0.0, 1.0)
        if self.width % self.heads:
            raise SettingError("heads", self.heads, f"a divisor of width {self.width}")

    def network(self) -> PreTrainedModel:
        """Return a network with random weights."""
        from transformers import BertConfig, BertModel

        config = BertConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.feed_forward,
            max_position_embeddings=self.positions,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            type_vocab_size=1,
        )
        return BertModel(config, add_pooling_layer=False)

    def tokenizer(self) -> None:
        """Return None: it is fitted."""
        return


@dataclass(frozen=True)
class PretrainedEncoder(Encoder):
    """Any encoder of `transformers`, whole or by low-rank adapters.

    Args:
        path: folder of the model, or its name on the hub (fetched there once); its weights are read from safetensors.
        lora_rank: rank of LoRA adapters (Hu et al. 2021, package `peft`); None trains every weight.
        lora_scale: alpha of LoRA; twice the rank if not given.
        lora_modules: names of the layers that get adapters, such as [query, value]; those of the architecture if not
            given.
        dropout: of hidden states and attention; the model's own if not given.

    Raises:
        SettingError: a number is out of its range, or its tokenizer is of another kind.
        MissingFileError: there is no such model.
    """

    path: str
    lora_rank: int | None = None
    lora_scale: float | None = None
    lora_modules: tuple[str, ...] | None = None
    dropout: float | None = None

    def __post_init__(self) -> None:
        if self.lora_rank is not None:
            checked("lora_rank", self.lora_rank, 1)
        if self.dropout is not None:
            checked("dropout", self.dropout, 0.0, 1.0)

    def network(self) -> PreTrainedModel:
        """Return the network with its weights, and rows for the tokens of `KINDS`."""
        from transformers import AutoConfig, AutoModel

        dropout = {} if self.dropout is None else dict.fromkeys(_DROPOUTS, self.dropout)
        config = load_pretrained(AutoConfig.from_pretrained, self.path)
        for name, value in dropout.items():
            if name in config.to_dict():
                setattr(config, name, value)
        network: PreTrainedModel = load_model(AutoModel.from_pretrained, self.path, config=config)
        size = self.tokenizer().get_vocab_size()
        if size > network.get_input_embeddings().num_embeddings:
            network.resize_token_embeddings(size, mean_resizing=False)
        network.train()  # it comes in evaluation mode, which Lightning would leave it in
        for name, weight in network.named_parameters():
            weight.requires_grad = not name.startswith("pooler.")  # its output is not used
        return network if self.lora_rank is None else self._adapted(network, self.lora_rank)

    def tokenizer(self) -> Tokenizer:
        """Return its tokenizer with the tokens of `KINDS`."""
        from tokenizers import Tokenizer
        from transformers import AutoTokenizer

        try:
            found: Tokenizer = load_pretrained(AutoTokenizer.from_pretrained, self.path).backend_tokenizer
        except (ValueError, AttributeError) as error:
            allowed = "a model with a tokenizer of the package tokenizers"
            raise SettingError("path", self.path, allowed, str(error).splitlines()[0]) from error
        copied: Tokenizer = Tokenizer.from_str(found.to_str())
        copied.no_padding()
        copied.add_tokens(list(KINDS))
        return copied

    def _adapted(self, network: PreTrainedModel, rank: int) -> PreTrainedModel:
        """Return the network with adapters, which alone are trained; the rows of new tokens stay as drawn."""
        from peft import LoraConfig, get_peft_model

        modules = None if self.lora_modules is None else list(self.lora_modules)
        config = LoraConfig(r=rank, lora_alpha=self.lora_scale or 2 * rank, target_modules=modules, lora_dropout=0.0)
        adapted: PreTrainedModel = get_peft_model(network, config)
        return adapted


_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "dropout_rate")


class TextEncoder(nn.Module):
    """Vectors of texts: each distinct text is encoded once, with others of about its length.

    Texts are sorted by length and cut into chunks of at most `token_budget` tokens, padding included, in which at most
    a tenth is padding. With `cached_gradients` the backward pass encodes one chunk at a time anew, so that memory is
    bound by a chunk and not by the batch: the gradients of GradCache (Gao et al. 2021), here by activation
    checkpointing of each chunk, to the bit those without.

    Args:
        encoder: which network.
        pooling: the vector of the first token (ExRec), or the mean over all tokens.
        max_length: tokens of a question or a step (ExRec's code: 128); longer texts are cut.
        concept_length: tokens of a concept (ExRec's code: 32).
        token_budget: most tokens of a chunk.
        cached_gradients: bind memory by a chunk.

    Raises:
        SettingError: an argument is out of its range, or (when called) a text is empty.
    """

    def __init__(
        self,
        encoder: Encoder,
        pooling: Pooling = "cls",
        max_length: int = 128,
        concept_length: int = 32,
        token_budget: int = 8192,
        cached_gradients: bool = False,
    ) -> None:
        super().__init__()
        if pooling not in get_args(Pooling):
            raise SettingError("pooling", pooling, " or ".join(get_args(Pooling)))
        least = {"max_length": max_length, "concept_length": concept_length, "token_budget": token_budget}
        for name, value in least.items():
            checked(name, value, 8)
        self.encoder = built(encoder, Encoder) or SmallBert()
        self.network = self.encoder.network()
        self.pooling, self.token_budget, self.cached_gradients = pooling, token_budget, cached_gradients
        self.longest: dict[str, int] = {"[KC]": concept_length}
        self.max_length = max_length
        self.seen_tokens, self.seen_padding = 0, 0
        self._tokens: dict[str, tuple[int, ...]] = {}
        self._tokenizer: Tokenizer | None = None
        self._take(self.encoder.tokenizer())

    @property
    def width(self) -> int:
        """D of the vectors."""
        return int(self.network.config.hidden_size)

    @property
    def fitted(self) -> bool:
        """Whether the vocabulary is known."""
        return self._tokenizer is not None

    def fit_vocabulary(self, texts: Sequence[str]) -> None:
        """Fit the vocabulary on texts, where the encoder did not bring one."""
        if not self.fitted and isinstance(self.encoder, SmallBert):
            self._take(word_pieces(texts, self.encoder.vocabulary, KINDS))

    def forward(self, texts: Sequence[str], kind: Kind | None = None) -> Tensor:
        """Return the vectors of texts, [N, D].

        Args:
            texts: none of them empty.
            kind: the token that says what they are, set before each; None for none.
        """
        place: dict[str, int] = {}
        index = [place.setdefault(text, len(place)) for text in texts]
        vectors = self._encoded([self._ids(text, kind) for text in place])
        return vectors.index_select(0, torch.tensor(index, dtype=torch.int64, device=vectors.device))

    def get_extra_state(self) -> Tensor:
        """Return the tokenizer as bytes, so that a checkpoint has it."""
        text = bytearray(self._described.encode())
        return torch.frombuffer(text, dtype=torch.uint8) if text else torch.zeros(0, dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the tokenizer of a checkpoint."""
        if len(state):
            from tokenizers import Tokenizer

            self._take(Tokenizer.from_str(bytes(state.tolist()).decode()))

    def _take(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer
        self._described = "" if tokenizer is None else tokenizer.to_str()
        self._tokens.clear()

    def _ids(self, text: str, kind: Kind | None) -> tuple[int, ...]:
        """Return the tokens of a text, from memory where it was met before."""
        worded = text if kind is None else f"{kind} {text}"
        known = self._tokens.get(worded)
        if known is not None:
            return known
        if self._tokenizer is None:
            advice = "call fit_vocabulary(texts), or fit it with a datamodule that has questions"
            raise SettingError("vocabulary", None, "a vocabulary that is fitted on texts", advice)
        if not text.strip():
            raise SettingError("text", text, f"a text, of {kind or 'any kind'}", "An empty one has no vector")
        self._tokenizer.enable_truncation(self.longest.get(kind or "", self.max_length))
        found = tuple(self._tokenizer.encode(worded).ids)
        self._tokens[worded] = found
        return found

    def _encoded(self, ids: Sequence[tuple[int, ...]]) -> Tensor:
        """Return the vectors of distinct texts given as tokens."""
        device = next(self.parameters()).device
        if not ids:
            return torch.zeros(0, self.width, device=device)
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        parts = []
        for chunk in chunks([len(ids[place]) for place in order], self.token_budget):
            rows = [ids[place] for place in order[chunk.start : chunk.stop]]
            token = torch.zeros(len(rows), chunk.longest, dtype=torch.int64)
            mask = torch.zeros(len(rows), chunk.longest, dtype=torch.int64)
            for row, one in enumerate(rows):
                token[row, : len(one)] = torch.tensor(one)
                mask[row, : len(one)] = 1
            self.seen_tokens += token.numel()
            self.seen_padding += token.numel() - sum(map(len, rows))
            inputs = token.to(device), mask.to(device)
            if self.cached_gradients and torch.is_grad_enabled():
                part = checkpoint(self._pooled, *inputs, use_reentrant=False)
            else:
                part = self._pooled(*inputs)
            parts.append(part)
        back = torch.tensor(order, device=device).argsort()
        return torch.cat(parts).index_select(0, back)

    def _pooled(self, token: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = self.network(input_ids=token, attention_mask=mask).last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0]
        weight = mask.to(hidden)[..., None]
        return (hidden * weight).sum(1) / weight.sum(1)


class Chunk(NamedTuple):
    """Texts `start` to `stop` of a sorted list; the longest has so many tokens."""

    start: int
    stop: int
    longest: int


def chunks(lengths: Sequence[int], budget: int, padding: float = 0.1) -> Iterator[Chunk]:
    """Cut ascending lengths into chunks of at most `budget` tokens and, beyond `LEAST_CHUNK` texts, little padding.

    A text that is longer than the budget is a chunk of its own.

    >>> [tuple(one) for one in chunks([2] * 20 + [9] * 3, budget=100)]
    [(0, 20, 2), (20, 23, 9)]
    """
    start, real = 0, 0
    for place, length in enumerate(lengths):
        padded = (place + 1 - start) * length
        many = place - start >= LEAST_CHUNK and padded - real - length > padding * padded
        if place > start and (padded > budget or many):
            yield Chunk(start, place, lengths[place - 1])
            start, real = place, 0
        real += length
    if lengths:
        yield Chunk(start, len(lengths), lengths[-1])
