"""How a request becomes a prompt, and how what a language model writes becomes a path."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.types import PathRequest

INSTRUCTION = "You plan what a learner practises next."
_LIST_MARK = re.compile(r"^([-*•]|\d+[.)])\s+")
_MARK = "\x00"
"""Stands on both sides of a concept's number in a text where its own token goes."""


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return names of one line each, none of which is another one's in lower case.

    >>> distinct_names(["Area", " area\\n", ""])
    ['Area', 'area (2)', 'concept 3']
    """
    found: dict[str, str] = {}
    for number, name in enumerate(names):
        plain = " ".join(name.replace(_MARK, " ").split()) or f"concept {number + 1}"
        free, count = plain, 1
        while free.lower() in found:
            count += 1
            free = f"{plain} ({count})"
        found[free.lower()] = free
    return list(found.values())


@dataclass(frozen=True)
class PromptStyle(ABC):
    """What a prompt says and how paths are written.

    Args:
        history_length: last interactions that the model reads; 0 hides the history.
        instruction: the first sentence of a prompt.
        list_concepts: begin with the list of all concepts.

    Raises:
        SettingError: a negative length.
    """

    history_length: int = 20
    instruction: str = INSTRUCTION
    list_concepts: bool = True

    def __post_init__(self) -> None:
        checked("history_length", self.history_length, 0)

    @abstractmethod
    def new_tokens(self, num_concepts: int) -> list[str]:
        """Return the tokens that a vocabulary needs besides its own, in the order of the concepts."""

    @abstractmethod
    def wording(self, tokenizer: Any, names: Sequence[str], added: Sequence[int]) -> Wording:
        """Return what to write with a tokenizer, for concepts of these names; `added` are the ids of new tokens."""


@dataclass(frozen=True)
class TextPrompt(PromptStyle):
    """Plain text: concepts by their names, a path as one name a line.

    What a model writes is read line by line: names count whatever their case, spaces and list marks; lines that are no
    concept's name leave the path and are counted.

    Args:
        history_length: last interactions that the model reads; 0 hides the history.
        instruction: the first sentence of a prompt.
        list_concepts: begin with the list of all concepts.
    """

    def new_tokens(self, num_concepts: int) -> list[str]:
        """Return none."""
        return []

    def wording(self, tokenizer: Any, names: Sequence[str], added: Sequence[int]) -> Wording:
        """Return the wording in names."""
        lines = [_ids(tokenizer, f"{name}\n") for name in names]
        return Wording(self, tokenizer, list(names), lines)


@dataclass(frozen=True)
class ConceptTokens(PromptStyle):
    """A token of its own for each concept, in prompts and paths.

    The tokens are added to the vocabulary and begin as the mean of the embeddings of the concept's name; with adapters
    they are trained alone of all embeddings (peft's `trainable_token_indices`).

    Args:
        history_length: last interactions that the model reads; 0 hides the history.
        instruction: the first sentence of a prompt.
        list_concepts: begin with the list of all concepts: of little use without names.
    """

    list_concepts: bool = False

    def new_tokens(self, num_concepts: int) -> list[str]:
        """Return one for each concept."""
        return [f"<|concept_{number}|>" for number in range(num_concepts)]

    def wording(self, tokenizer: Any, names: Sequence[str], added: Sequence[int]) -> Wording:
        """Return the wording in concept tokens."""
        shown = [f"{_MARK}{number}{_MARK}" for number in range(len(names))]
        return Wording(self, tokenizer, shown, [[number] for number in added], every=True)


@dataclass
class Wording:
    """Requests in words, and words as paths.

    Args:
        style: what a prompt says.
        tokenizer: of transformers.
        shown: how prompts name each concept.
        lines: the tokens that each concept is written by in a path.
        every: each token is a line of its own.

    Raises:
        SettingError: the tokenizer has no end of text.
    """

    style: PromptStyle
    tokenizer: Any
    shown: list[str]
    lines: list[list[int]]
    every: bool = False
    _known: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)
    _breaks: dict[int, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.tokenizer.eos_token_id is None:
            raise SettingError("tokenizer", self.tokenizer.name_or_path, "one with an end of text (eos_token)")
        self._number = {_plain(name): number for number, name in enumerate(self.shown)}
        self._number_of_line = {tuple(line): number for number, line in enumerate(self.lines)}

    @property
    def end(self) -> int:
        """The token that ends a path."""
        return int(self.tokenizer.eos_token_id)

    @property
    def longest_line(self) -> int:
        """Most tokens of a concept."""
        return max(map(len, self.lines))

    def prompts(self, request: PathRequest) -> list[list[int]]:
        """Return the tokens of each request's prompt."""
        return [self._tokens(text) for text in self.texts(request)]

    def texts(self, request: PathRequest) -> list[str]:
        """Return each request in words, before any chat template."""
        history, keep = request.history, self.style.history_length
        concepts, answers = history.concept.tolist(), history.correct.tolist()
        lengths, wanted = history.lengths.tolist(), request.length.tolist()
        head = [self.style.instruction]
        if self.style.list_concepts:
            head.append(f"Concepts: {'; '.join(self.shown)}.")
        found = []
        for row, targets in enumerate(request.targets.cpu()):
            steps = range(max(lengths[row] - keep, 0), lengths[row])
            done = [
                f"{' and '.join(self.shown[number] for number in concepts[row][step] if number >= 0)} "
                f"{'right' if answers[row][step] > 0.5 else 'wrong'}"
                for step in steps
            ]
            goals = [self.shown[number] for number in targets.nonzero().squeeze(1).tolist()]
            parts = [f"Practised: {'; '.join(done) or 'nothing'}.", f"Goals: {'; '.join(goals) or 'none'}."]
            found.append("\n".join([*head, *parts, f"Write a path of {wanted[row]} concepts, one on each line."]))
        return found

    def write(self, path: Sequence[int], end: bool) -> list[int]:
        """Return the tokens of a path, and the end where it is written."""
        return [token for number in path for token in self.lines[number]] + [self.end] * end

    def breaks(self, token: int) -> bool:
        """Return whether a token completes a line, or ends the path."""
        if token not in self._breaks:
            self._breaks[token] = self.every or token == self.end or "\n" in self._text([token])
        return self._breaks[token]

    def read(self, tokens: Sequence[int], most: int) -> Reading:
        """Return what the tokens say, up to `most` concepts or the end."""
        reading = Reading(self, most)
        for token in tokens:
            if reading.take(token):
                break
        reading.close()
        return reading

    def named(self, line: tuple[int, ...]) -> tuple[int, ...]:
        """Return the concepts that a line names (one, unless its last token has several line breaks), -1 for none."""
        if not line:
            return ()
        if line not in self._known:
            if self.every:
                found: tuple[int, ...] = (self._number_of_line.get(line, -1),)
            else:
                names = (part for part in self._text(line).split("\n") if part.strip())
                found = tuple(self._named(name) for name in names)
            if len(self._known) > 100_000:  # free text of a model that has learned nothing
                self._known.clear()
            self._known[line] = found
        return self._known[line]

    def _named(self, name: str) -> int:
        plain = _plain(name)
        return self._number.get(plain, self._number.get(_LIST_MARK.sub("", plain), -1))

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=False))

    def _tokens(self, text: str) -> list[int]:
        """Return the tokens of a prompt, by the chat template where there is one."""
        chat = self.tokenizer.chat_template is not None
        if chat:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False, enable_thinking=False
            )
        else:
            text = f"{text}\n"
        parts = text.split(_MARK)
        first = [] if chat or self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        found = [self.lines[int(part)] if place % 2 else _ids(self.tokenizer, part) for place, part in enumerate(parts)]
        return first + [token for part in found for token in part]


@dataclass
class Reading:
    """What a model wrote so far: the path, names that are no concept's, the steps that the path had at each token.

    Args:
        wording: how paths are written.
        most: concepts after which a path ends.
    """

    wording: Wording
    most: int
    path: list[int] = field(default_factory=list)
    dropped: int = 0
    step: list[int] = field(default_factory=list)
    _line: list[int] = field(default_factory=list)

    def take(self, token: int) -> bool:
        """Read one token; return whether the path ends with it."""
        self.step.append(len(self.path))
        over = token == self.wording.end
        if not over:
            self._line.append(token)
        if over or self.wording.breaks(token):
            self.close()
        return over or len(self.path) >= self.most

    def close(self) -> None:
        """Read the line so far as a whole one."""
        for number in self.wording.named(tuple(self._line)):
            self.dropped += number < 0
            self.path += [number] * (number >= 0)
        self._line = []
        del self.path[self.most :]


def padded_left(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows as [B, P] with zeros before the shorter ones, and True on the real ones.

    >>> padded_left([[5, 6], [7]])[0]
    tensor([[5, 6],
            [0, 7]])
    """
    longest = max(map(len, rows), default=0)
    token = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], dtype=torch.int64)
    mask = torch.tensor([[False] * (longest - len(row)) + [True] * len(row) for row in rows], dtype=torch.bool)
    return token.view(len(rows), longest), mask.view(len(rows), longest)


def padded_right(rows: Sequence[Sequence[int]], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows as [R, S] with `fill` behind the shorter ones, and True on the real ones.

    >>> padded_right([[5, 6], [7]], -1)[0]
    tensor([[ 5,  6],
            [ 7, -1]])
    """
    longest = max(map(len, rows), default=0)
    token = torch.tensor([list(row) + [fill] * (longest - len(row)) for row in rows], dtype=torch.int64)
    length = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    return token.view(len(rows), longest), torch.arange(longest) < length[:, None]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def _plain(name: str) -> str:
    return " ".join(name.split()).lower()
