"""A causal language model that reads requests in words and writes paths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.nets.backbones.causal_lm import CausalLM, ReadPrompt
from lpr_lightning.nets.backbones.line_table import LineTable
from lpr_lightning.nets.backbones.prompts import (
    PromptStyle,
    Reading,
    Wording,
    distinct_names,
    padded_left,
    padded_right,
)
from lpr_lightning.nets.backbones.scratch import SmallModel, tokenizer_from_json
from lpr_lightning.nets.path_net import PathNet, SampledPaths
from lpr_lightning.protocols import LearnerData
from lpr_lightning.types import PAD, PathRequest

_EMPTIED = 0.6
"""Rows whose paths have ended leave the batch once that share of it, or less, would be left."""


class LanguageModelNet(PathNet):
    """Writes paths by a causal language model, with or without adapters; a choice is a token.

    A prompt is read once, its keys and values serve all K paths, in sampling and, with gradients, in `log_prob`;
    finished paths leave the batch. Names that are no concept's leave the path, keep their tokens in `log_prob_of`, and
    are counted in `SampledPaths.dropped`. The concepts' names come by `connect` and stay in checkpoints.

    Args:
        num_concepts: number of concepts.
        model: for causal language modelling, or a PeftModel over one.
        style: what prompts say and how paths are written.
        tokenizer: of the model; None for a `SmallModel`, which trains one when the names are known.
        small: what the model was made by, if it was not loaded.
        added: numbers of the tokens that the style added to the vocabulary.
        constrained: let only concepts and the end be written.
        max_length: most concepts of a path.
        whole_passes: read the prompt anew for each path in `log_prob`, which gradient checkpointing needs.
    """

    def __init__(
        self,
        num_concepts: int,
        model: nn.Module,
        style: PromptStyle,
        tokenizer: Any | None,
        small: SmallModel | None = None,
        added: Sequence[int] = (),
        constrained: bool = False,
        max_length: int = 20,
        whole_passes: bool = False,
    ) -> None:
        super().__init__()
        self.num_concepts, self.style, self.small, self.max_length = num_concepts, style, small, max_length
        self.constrained, self.whole_passes, self.added = constrained, whole_passes, list(added)
        self.tokenizer = tokenizer
        self.lm = CausalLM(model)
        self.names: list[str] = []
        self.table: LineTable | None = None
        self._wording: Wording | None = None
        weights = self.lm.named_parameters(remove_duplicate=False) if small is None else ()
        self.resident = {f"lm.{name}" for name, weight in weights if not weight.requires_grad}
        self.register_state_dict_post_hook(_leave_out)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_not_missed)  # type: ignore[no-untyped-call]

    @property
    def horizon(self) -> int | None:
        """Most concepts of a path."""
        return self.max_length

    @property
    def wording(self) -> Wording:
        """How requests and paths are written.

        Raises:
            SettingError: the concepts' names are not known.
        """
        if self._wording is None:
            raise SettingError("concept_names", None, "the names of the data's concepts", "call connect(data) first")
        return self._wording

    def most_choices(self, request: PathRequest) -> int:
        """Return the most tokens that a path may take."""
        return self._most_tokens(self.max_length)

    def connect(self, data: LearnerData) -> None:
        """Take the concepts' names; tokens of concepts begin as the mean of the embeddings of their names."""
        names = distinct_names(data.concept_names)
        if names == self.names:
            return
        tokenizer = self.tokenizer
        if self.small is not None:
            tokenizer = self.small.tokenizer(self._corpus(names), self.style.new_tokens(self.num_concepts))
        self._take(names, tokenizer)
        if self.added:
            self._begin_tokens()

    def get_extra_state(self) -> Tensor:
        """Return names, and a tokenizer that was trained on them, as bytes."""
        trained = self.wording.tokenizer.backend_tokenizer.to_str() if self.small is not None and self.names else None
        text = json.dumps({"names": self.names, "tokenizer": trained})
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take names and tokenizer back."""
        found = json.loads(bytes(state.cpu().tolist()).decode())
        if found["names"]:
            tokenizer = self.tokenizer if self.small is None else tokenizer_from_json(found["tokenizer"])
            self._take(found["names"], tokenizer)

    def log_prob(
        self,
        request: PathRequest,
        path: Tensor,
        group_size: int,
        temperature: float = 1.0,
        mastery: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log-probabilities [B * K, S] of the tokens that spell each path, their mask, and the entropies."""
        rows = [[number for number in row if number != PAD] for row in path.tolist()]
        wording = self.wording
        token, mask = padded_right([wording.write(row, len(row) < self.max_length) for row in rows], wording.end)
        return self._log_prob(request, token.to(path.device), mask.to(path.device), temperature)

    def log_prob_of(
        self,
        request: PathRequest,
        sampled: SampledPaths,
        group_size: int,
        temperature: float = 1.0,
        mastery: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the same of the tokens that were sampled, whatever they spell."""
        if sampled.token is None:
            return self.log_prob(request, sampled.path, group_size, temperature, mastery)
        return self._log_prob(request, sampled.token, sampled.token_mask, temperature)

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
        """Return `group_size` paths for each request, sampled by the requests' `draws`, or the likeliest without.

        Raises:
            SettingError: a wish for more than `max_length` concepts, or a prompt that is too long for the model.
        """
        device = request.length.device
        if not len(request):
            none = request.length.new_zeros(0, 1)
            return SampledPaths(none, none.float(), none.bool(), none, none, none[:, 0])
        most = self.max_length if steps is None else min(self.max_length, steps)
        prompt = self.lm.read(*self._prompts(request, self._most_tokens(most)))
        writer = _Writer(self, prompt, group_size, most, None if draws is None else draws.fork(group_size))
        for step in range(self._most_tokens(most)):
            if not writer.write(step, temperature):
                break
        rows = writer.readings
        for one in rows:
            one.close()
        path, _ = padded_right([one.path or [PAD] for one in rows], PAD)
        token, mask = padded_right(writer.tokens, self.wording.end)
        step_of, _ = padded_right([one.step for one in rows], 0)
        dropped = torch.tensor([one.dropped for one in rows])
        log_prob = torch.stack(writer.log_probs, 1)
        return SampledPaths(
            path.to(device), log_prob, mask.to(device), token.to(device), step_of.to(device), dropped.to(device)
        )

    def save_pretrained(self, folder: str) -> None:
        """Write adapters (or, without any, the model) and tokenizer, as transformers and peft do."""
        model: Any = self.lm.model
        model.save_pretrained(folder)
        self.wording.tokenizer.save_pretrained(folder)

    def log_softmax(self, hidden: Tensor, place: Tensor | None, temperature: float) -> Tensor:
        """Return log-probabilities of the next tokens, over the vocabulary or over what may follow at `place`."""
        table = self.table
        if table is None or place is None:
            return (self.lm.logits(hidden) / temperature).log_softmax(-1)
        logits = self.lm.logits(hidden, table.column) / temperature
        return logits.masked_fill(~table.allowed[place], torch.finfo(logits.dtype).min).log_softmax(-1)

    def _log_prob(
        self, request: PathRequest, token: Tensor, mask: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        prompts = self._prompts(request, token.shape[1])
        if self.whole_passes:
            hidden = self.lm.whole(*prompts, token[:, :-1])
        else:
            prompt = self.lm.read(*prompts)
            hidden = prompt.last.repeat_interleave(len(token) // len(request), 0)[:, None]
            if token.shape[1] > 1:
                hidden = torch.cat([hidden, self.lm.extend(prompt, token[:, :-1])], 1)
        choice, place = token, None
        if self.table is not None:
            choice = torch.searchsorted(self.table.column, token)
            place = self.table.places(choice)[mask]
        real = mask.flatten().nonzero().squeeze(1)
        scores = self.log_softmax(hidden.flatten(0, 1).index_select(0, real), place, temperature)
        chosen = scores.gather(1, choice.flatten()[real, None]).squeeze(1)
        entropy = -(scores.exp() * scores).sum(1)
        nothing = torch.zeros(token.shape, dtype=scores.dtype, device=token.device)
        return nothing.masked_scatter(mask, chosen), mask, nothing.masked_scatter(mask, entropy)

    def _prompts(self, request: PathRequest, more: int) -> tuple[Tensor, Tensor]:
        """Return the prompts' tokens [B, P] and their mask; so many tokens are to follow."""
        if len(request) and (longest := int(request.length.max())) > self.max_length:
            advice = "ask for shorter paths, or train with a larger max_length"
            raise SettingError("length", longest, f"at most max_length={self.max_length}", advice)
        token, mask = padded_left(self.wording.prompts(request))
        most = self.lm.config.max_position_embeddings
        if token.shape[1] + more > most:
            advice = "give less of the history (history_length), leave out list_concepts, or use ConceptTokens"
            raise SettingError("prompt", f"{token.shape[1]} tokens and {more} to follow", f"{most} in all", advice)
        return token.to(request.length.device), mask.to(request.length.device)

    def _most_tokens(self, concepts: int) -> int:
        return concepts * self.wording.longest_line + 1

    def _take(self, names: list[str], tokenizer: Any) -> None:
        if len(names) != self.num_concepts:
            raise SettingError("concept_names", len(names), f"{self.num_concepts} names, one for each concept")
        self.names, self.tokenizer = names, tokenizer
        self._wording = self.style.wording(tokenizer, names, self.added)
        if self.constrained:
            device = next(self.lm.parameters()).device
            self.table = LineTable(self._wording.lines, self._wording.end).to(device)

    def _corpus(self, names: list[str]) -> list[str]:
        """Return what a tokenizer is trained on: all that prompts and paths are made of."""
        listed = "; ".join(names)
        lines = [f"{name}\n" for name in names]
        done = [f"Practised: {name} right; {name} wrong; {name}.\nGoals: {name}; {name}.\n" for name in names]
        wishes = [f"Write a path of {n} concepts, one on each line.\n" for n in range(1, self.max_length + 1)]
        return [self.style.instruction, f"Concepts: {listed}.\n", *lines, *done, *wishes]

    @torch.no_grad()
    def _begin_tokens(self) -> None:
        """Let tokens of concepts begin as the mean of the embeddings of their names."""
        index = torch.tensor(self.added)
        words = [self.wording.tokenizer(name, add_special_tokens=False)["input_ids"] for name in self.names]
        plain = self.lm.plain[0]
        for layer in (plain.model.embed_tokens, plain.lm_head):
            wrapped = getattr(layer, "token_adapter", None)
            weight = (layer if wrapped is None else wrapped.base_layer).weight
            mean = torch.stack([weight[torch.tensor(ids, device=weight.device)].mean(0) for ids in words])
            weight[index.to(weight.device)] = mean
            if wrapped is not None:
                for rows in (*wrapped.trainable_tokens_delta.values(), *wrapped.trainable_tokens_original.values()):
                    rows.copy_(mean)


class _Writer:
    """K paths of each prompt while they are written; rows whose paths have ended leave the batch."""

    def __init__(self, net: LanguageModelNet, prompt: ReadPrompt, count: int, most: int, draws: Draws | None) -> None:
        rows = len(prompt.last) * count
        self.net, self.prompt, self.draws = net, prompt, draws
        self.readings = [Reading(net.wording, most) for _ in range(rows)]
        self.tokens: list[list[int]] = [[] for _ in range(rows)]
        self.log_probs: list[Tensor] = []
        self.hidden = prompt.last.repeat_interleave(count, 0)
        self.row = torch.arange(rows, device=self.hidden.device)
        self.live = torch.ones_like(self.row, dtype=torch.bool)
        self.place = torch.zeros_like(self.row)
        self.cache = DynamicCache()

    def write(self, step: int, temperature: float) -> bool:
        """Write one token of each path that has not ended; return whether any is left."""
        table = self.net.table
        scores = self.net.log_softmax(self.hidden, self.place, temperature)
        draws = None if self.draws is None else self.draws.at(step).select(self.row)
        choice = scores.argmax(1) if draws is None else draws.pick(scores.exp())
        token = choice if table is None else table.column[choice]
        log_prob = torch.zeros(len(self.tokens), dtype=scores.dtype, device=scores.device)
        chosen = scores.gather(1, choice[:, None]).squeeze(1)
        self.log_probs.append(log_prob.index_copy(0, self.row, torch.where(self.live, chosen, 0.0)))
        live = self.live.tolist()
        for number, (row, one) in enumerate(zip(self.row.tolist(), token.tolist())):
            if live[number]:
                self.tokens[row].append(one)
                live[number] = not self.readings[row].take(one)
        if not any(live):
            return False
        self.live = torch.tensor(live, device=self.row.device)
        if table is not None:
            self.place = table.after(self.place, choice)
        token = self._shrink(token)
        self.hidden = self.net.lm.extend(self.prompt, token[:, None], step, self.cache)[:, 0]
        return True

    def _shrink(self, token: Tensor) -> Tensor:
        """Let ended paths leave, as many of each prompt; return the tokens of those that stay."""
        prompts = len(self.prompt.length)
        live = self.live.view(prompts, -1)
        alive = live.sum(1)
        kept, count = alive > 0, int(alive.max())
        if int(kept.sum()) * count > _EMPTIED * live.numel():
            return token
        first = (~live).to(torch.int8).argsort(dim=1, stable=True)[:, :count]
        index = (first + torch.arange(prompts, device=first.device)[:, None] * live.shape[1])[kept].flatten()
        self.row, self.live, self.place = self.row[index], self.live[index], self.place[index]
        self.prompt = self.prompt.select(kept.nonzero().squeeze(1))
        if len(self.cache.layers):
            self.cache.batch_select_indices(index)
        return token[index]


def _leave_out(net: nn.Module, state: dict[str, object], prefix: str, metadata: object) -> None:
    """Leave the weights of a loaded model, which its folder has, out of checkpoints."""
    if isinstance(net, LanguageModelNet):
        for name in net.resident:
            state.pop(prefix + name, None)


def _not_missed(net: nn.Module, keys: Any) -> None:
    """Do not miss them when a checkpoint is loaded."""
    if isinstance(net, LanguageModelNet):
        keys.missing_keys[:] = [
            key for key in keys.missing_keys if not any(key.endswith(name) for name in net.resident)
        ]
