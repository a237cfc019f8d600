"""What is said to a language model and what comes back, whichever kind of model it is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, NamedTuple, Protocol

from lpr_lightning.errors import LPRError

Role = Literal["system", "user", "assistant"]


def guess_tokens(text: str) -> int:
    """Return about how many tokens a text is: a third of its bytes, more than most tokenizers make of it.

    >>> guess_tokens("What is 7 + 5?"), guess_tokens("七加五")
    (5, 3)
    """
    return -(-len(text.encode()) // 3)


class Message(NamedTuple):
    """One message of a conversation."""

    role: Role
    content: str


class Token(NamedTuple):
    """One token of an answer, its log-probability, and the likeliest tokens in its place with theirs."""

    text: str
    log_prob: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Prompt:
    """One request to a language model.

    Args:
        messages: the conversation so far; the last is the user's.
        max_tokens: greatest length of the answer.
        temperature: 0 for the likeliest answer.
        json: whether the endpoint is asked to return a JSON object.
        alternatives: of how many tokens in each place the log-probabilities are wanted; 0 for none.
        sample: the number of this answer where one conversation is asked several times.
    """

    messages: tuple[Message, ...]
    max_tokens: int = 512
    temperature: float = 0.0
    json: bool = True
    alternatives: int = 0
    sample: int = 0

    @property
    def key(self) -> str:
        """A hash of everything that the answer depends on.

        >>> one = Prompt((Message("user", "2 + 2?"),))
        >>> len(one.key), one.key == Prompt((Message("user", "2 + 2?"),)).key, one.key == one.after("5", "no").key
        (64, True, False)
        """
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def guessed_tokens(self) -> int:
        """About how many tokens the messages are: `guess_tokens` of each, and four around it."""
        return sum(guess_tokens(one.content) + 4 for one in self.messages)

    def after(self, answer: str, reply: str) -> Prompt:
        """Return the request with the model's answer and what the user says to it."""
        return replace(self, messages=(*self.messages, Message("assistant", answer), Message("user", reply)))


@dataclass(frozen=True)
class Answer:
    """What a language model answered.

    Args:
        text: its words.
        prompt_tokens: tokens of the request, as counted by the model.
        answer_tokens: tokens of the answer.
        finish: why it ended; "length" where it was cut off.
        tokens: each token with its log-probability, where `Prompt.alternatives` asked for them.
    """

    text: str
    prompt_tokens: int
    answer_tokens: int
    finish: str = "stop"
    tokens: tuple[Token, ...] = ()


class Client(Protocol):
    """Something that answers prompts; calls may come from several threads at once.

    A call is one try: `RetryableError` where another may succeed, `RefusedError` where this prompt gets no answer,
    `EndpointError` where none will.
    """

    @property
    def model(self) -> str:
        """The name under which answers are kept: two models never share one."""
        ...

    def ask(self, prompt: Prompt) -> Answer:
        """Return the answer to one prompt."""
        ...


class RetryableError(LPRError):
    """A request failed for a reason that may pass.

    Args:
        reason: in words.
        wait: seconds that the endpoint asked to wait; None where it did not say.
        charged: whether the request may have been charged although no answer arrived.
    """

    def __init__(self, reason: str, wait: float | None = None, charged: bool = False) -> None:
        self.reason, self.wait, self.charged = reason, wait, charged
        super().__init__(reason)


class RefusedError(LPRError):
    """The endpoint refused one prompt; others may pass."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class EndpointError(LPRError):
    """No request will succeed until something is changed.

    >>> raise EndpointError("localhost", "it knows no model 'x'", "give another model")
    Traceback (most recent call last):
        ...
    lpr_lightning.annotation.chat.EndpointError: localhost gives no answers: it knows no model 'x'. To mend it: give \
another model.
    """

    def __init__(self, where: str, problem: str, advice: str) -> None:
        self.where, self.problem = where, problem
        super().__init__(f"{where} gives no answers: {problem.rstrip('.')}. To mend it: {advice.rstrip('.')}.")
