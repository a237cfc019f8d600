"""A small decoder that reads a request as tokens and writes a path, one concept a token."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache, Qwen2Config, Qwen2Model

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.nets import shared_prompt
from lpr_lightning.nets.path_net import Backbone, PathNet, SampledPaths
from lpr_lightning.nets.shared_prompt import SharedPrompt
from lpr_lightning.types import PAD, InteractionBatch, PathRequest


@dataclass
class _Prompt:
    """Prompts after their pass: keys and values, the last token's output [B, D], the number of tokens [B]."""

    shared: SharedPrompt
    last: Tensor
    length: Tensor


class PathDecoder(PathNet):
    """A Qwen2 decoder from scratch over the tokens of learning paths.

    Prompt: one token for each (concept, answer) of the last `history_length` interactions, one for each target, one
    for the wanted length. Path: one token for each concept, then an end token, the policy's own choice of length;
    a path holds at most `max_length` concepts. Paths of one prompt share the prompt's pass, in sampling and, with
    gradients, in `log_prob`; see `shared_prompt`.

    >>> _ = torch.manual_seed(0)
    >>> net = PathDecoder(num_concepts=5, hidden_size=16, num_layers=1, num_heads=2, max_length=4)
    >>> targets = torch.zeros(2, 5, dtype=torch.bool)
    >>> ask = PathRequest(InteractionBatch.empty(2), targets, torch.tensor([3, 3]), torch.arange(2), torch.arange(2))
    >>> net.sample(ask, group_size=3, draws=Draws.of(0, 0, ask.row)).path.shape[0]
    6
    """

    def __init__(
        self,
        num_concepts: int,
        hidden_size: int = 128,
        num_layers: int = 3,
        num_heads: int = 4,
        intermediate_size: int | None = None,
        history_length: int = 48,
        max_length: int = 20,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_concepts, self.history_length, self.max_length = num_concepts, history_length, max_length
        self.end = num_concepts
        self.embedding = nn.Embedding(1 + 4 * num_concepts + max_length + 1, hidden_size, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.02)
        config = Qwen2Config(
            vocab_size=1,
            hidden_size=hidden_size,
            intermediate_size=intermediate_size or 2 * hidden_size,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            num_key_value_heads=num_heads,
            max_position_embeddings=history_length + num_concepts + max_length + 1,
            attention_dropout=dropout,
            use_cache=True,
            attn_implementation=shared_prompt.NAME,
        )
        self.decoder = Qwen2Model(config)
        self.decoder.embed_tokens.requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, num_concepts + 1)

    @property
    def horizon(self) -> int | None:
        """Most concepts of a path."""
        return self.max_length

    def log_prob(
        self,
        request: PathRequest,
        path: Tensor,
        group_size: int,
        temperature: float = 1.0,
        mastery: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log-probabilities [B * K, L + 1] of each path's tokens and end, their mask, and the entropies.

        The prompt is read once, with gradients; its keys and values serve all K paths.
        """
        prompt = self._read(request)
        token, token_mask = self._with_end(path)
        hidden = prompt.last.repeat_interleave(group_size, 0)[:, None]
        if path.shape[1]:
            position = prompt.length.repeat_interleave(group_size, 0)[:, None]
            position = position + torch.arange(path.shape[1], device=path.device)
            hidden = torch.cat([hidden, self._continue(prompt, path, position)], 1)
        log_probs = self._log_softmax(hidden, torch.arange(hidden.shape[1], device=path.device), temperature)
        entropy = -(log_probs.exp() * log_probs.clamp_min(-30)).sum(-1)
        return log_probs.gather(2, token[..., None]).squeeze(2) * token_mask, token_mask, entropy * token_mask

    @torch.no_grad()
    def sample(
        self,
        request: PathRequest,
        group_size: int = 1,
        temperature: float = 1.0,
        draws: Draws | None = None,
        mastery: Tensor | None = None,
        steps: int | None = None,
    ) -> SampledPaths:
        """Return `group_size` paths for each request, sampled by the requests' `draws`, or the likeliest without them.

        Log-probabilities are those at the same temperature.
        """
        if not len(request):
            none = request.length.new_zeros(0, 1)
            return SampledPaths(none, none.float(), none.bool())
        prompt = self._read(request)
        rows = len(request) * group_size
        draws = None if draws is None else draws.fork(group_size)
        hidden = prompt.last.repeat_interleave(group_size, 0)
        position = prompt.length.repeat_interleave(group_size, 0)[:, None]
        cache = DynamicCache(config=self.decoder.config)
        ended = torch.zeros(rows, dtype=torch.bool, device=hidden.device)
        tokens, log_probs, masks = [], [], []
        for step in range(self.max_length + 1):
            now = torch.tensor([step], device=hidden.device)
            log_prob = self._log_softmax(hidden[:, None], now, temperature)[:, 0]
            token = log_prob.argmax(1) if draws is None else draws.at(step).pick(log_prob.exp())
            masks.append(~ended)
            tokens.append(torch.where(ended | (token == self.end), PAD, token))
            log_probs.append(torch.where(ended, 0.0, log_prob.gather(1, token[:, None]).squeeze(1)))
            ended = ended | (token == self.end)
            if bool(ended.all()) or step == self.max_length or step + 1 == steps:
                break
            hidden = self._continue(prompt, tokens[-1][:, None], position + step, cache)[:, 0]
        path = torch.stack(tokens, 1)
        longest = max(int((path != PAD).sum(1).max()), 1)
        return SampledPaths(path[:, :longest], torch.stack(log_probs, 1), torch.stack(masks, 1))

    def _log_softmax(self, hidden: Tensor, step: Tensor, temperature: float) -> Tensor:
        """Return log-probabilities over concepts and end; after `max_length` concepts only the end is left."""
        logits = self.head(self.dropout(hidden)) / temperature
        logits = logits if logits.dtype == torch.float64 else logits.float()
        full = (step >= self.max_length)[None, :, None]
        concepts = torch.arange(self.num_concepts + 1, device=logits.device) != self.end
        log_probs: Tensor = logits.masked_fill(full & concepts, torch.finfo(logits.dtype).min).log_softmax(-1)
        return log_probs

    def _with_end(self, path: Tensor) -> tuple[Tensor, Tensor]:
        real = path != PAD
        token = torch.where(real, path, self.end)
        token = torch.cat([token, token.new_full((len(path), 1), self.end)], 1)
        return token, torch.cat([real.new_ones(len(path), 1), real], 1)

    def _read(self, request: PathRequest) -> _Prompt:
        """Run the decoder over the prompts, real tokens at the right end."""
        index = self._prompt_tokens(request)
        known = index > 0
        embedded = self.embedding(index).sum(2) / known.sum(2, keepdim=True).clamp_min(1)
        mask = known.any(2)
        output = self.decoder(
            inputs_embeds=self.dropout(embedded),
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp_min(0),
            past_key_values=DynamicCache(config=self.decoder.config),
        )
        return _Prompt(SharedPrompt(output.past_key_values, mask), output.last_hidden_state[:, -1], mask.sum(1))

    def _continue(self, prompt: _Prompt, path: Tensor, position: Tensor, cache: DynamicCache | None = None) -> Tensor:
        """Return the outputs after path tokens [B * K, T], which see the prompt and what `cache` holds."""
        output = self.decoder(
            inputs_embeds=self.dropout(self._path_embedding(path)),
            attention_mask={"full_attention": None},
            position_ids=position,
            past_key_values=cache,
            use_cache=cache is not None,
            shared_prompt=prompt.shared,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _path_embedding(self, path: Tensor) -> Tensor:
        embedded: Tensor = self.embedding(torch.where(path >= 0, 1 + 3 * self.num_concepts + path, 0))
        return embedded

    def _prompt_tokens(self, request: PathRequest) -> Tensor:
        """Return token numbers [B, P, C] of histories, targets and wanted lengths, 0 where empty, empty ones first."""
        concept, correct = self._recent(request.history)
        number = self.num_concepts
        history = torch.where(concept >= 0, 1 + concept + number * (correct > 0.5)[..., None], 0)
        width = int(request.targets.sum(1).max())
        target, order = request.targets.sort(dim=1, descending=True, stable=True)
        target_token = torch.where(target, 1 + 2 * number + order, 0)[:, :width, None]
        if (longest := int(request.length.max())) > self.max_length:
            advice = "ask for shorter paths, or train with a larger max_length"
            raise SettingError("length", longest, f"at most max_length={self.max_length}", advice)
        length = 1 + 4 * number + request.length
        several = history.shape[2]
        tokens = torch.cat(
            [history, *(nn.functional.pad(part, (0, several - 1)) for part in (target_token, length[:, None, None]))], 1
        )
        filled = (tokens > 0).any(2)
        place = filled.long().argsort(dim=1, stable=True)
        place = place[:, tokens.shape[1] - int(filled.sum(1).max()) :]
        return tokens.gather(1, place[..., None].expand(-1, -1, several))

    def _recent(self, history: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return concepts and answers of the last interactions, padded on the right."""
        keep = min(self.history_length, history.mask.shape[1])
        steps = (history.lengths - keep).clamp_min(0)[:, None] + torch.arange(keep, device=history.mask.device)
        concept = history.concept.gather(1, steps[..., None].expand(-1, -1, history.concept.shape[2]))
        return concept, history.correct.gather(1, steps)


@dataclass(frozen=True)
class SmallQwen2(Backbone):
    """Settings of a `PathDecoder`: a small Qwen2 trained from scratch, so that nothing need be downloaded.

    Args:
        hidden_size: Width.
        num_layers: Layers.
        num_heads: Attention heads; must divide `hidden_size`.
        intermediate_size: Width of the feed-forward part; default twice the width.
        history_length: Last interactions that the policy sees; 0 hides the history, as in the public KES code.
        max_length: Most concepts in a path; must be at least the longest wanted length.
        dropout: In [0, 1).

    Raises:
        SettingError: If a number is out of range.

    >>> SmallQwen2(hidden_size=16, num_layers=1, num_heads=2).build(num_concepts=5).end
    5
    """

    hidden_size: int = 128
    num_layers: int = 3
    num_heads: int = 4
    intermediate_size: int | None = None
    history_length: int = 48
    max_length: int = 20
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name, value, least in (
            ("hidden_size", self.hidden_size, 1),
            ("num_layers", self.num_layers, 1),
            ("num_heads", self.num_heads, 1),
            ("history_length", self.history_length, 0),
            ("max_length", self.max_length, 1),
        ):
            checked(name, value, least)
        if self.hidden_size % (2 * self.num_heads):
            raise SettingError("hidden_size", self.hidden_size, f"a multiple of 2 * num_heads = {2 * self.num_heads}")
        checked("dropout", self.dropout, 0.0, 1.0)

    def build(self, num_concepts: int) -> PathDecoder:
        """Return the decoder for so many concepts."""
        return PathDecoder(num_concepts, **asdict(self))
