"""Asking a language model once: from the store, else within the budget, again where it fails, stored at once."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from lpr_lightning.annotation.budget import Budget
from lpr_lightning.annotation.chat import (
    Answer,
    Client,
    EndpointError,
    Prompt,
    RefusedError,
    RetryableError,
    guess_tokens,
)
from lpr_lightning.annotation.store import AnswerStore
from lpr_lightning.errors import LPRError, checked, checked_positive

Parsed = TypeVar("Parsed")


class InvalidAnswerError(LPRError):
    """An answer is not of the form that was asked for; the reason is told to the model."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class SetAsideError(LPRError):
    """A question gets no answer that can be used.

    Args:
        task: what was asked.
        reason: in words.
    """

    def __init__(self, task: str, reason: str) -> None:
        self.task, self.reason = task, reason
        super().__init__(f"{task}: {reason}")


class StoppedError(LPRError):
    """The run was stopped before this request."""


@dataclass(frozen=True)
class Retries:
    """How often and after how long a request that failed is sent again.

    The n-th wait is drawn from half of min(`first` * 2^n, `longest`) to all of it; where the endpoint says how long to
    wait, that long, and no other request is sent meanwhile.

    Args:
        tries: of one request, the first one counted.
        first: seconds.
        longest: seconds, of any wait.
        in_a_row: after so many requests that failed all tries, with no answer between, the endpoint is given up.

    Raises:
        SettingError: a number out of its range.
    """

    tries: int = 6
    first: float = 1.0
    longest: float = 120.0
    in_a_row: int = 5

    def __post_init__(self) -> None:
        checked("tries", self.tries, 1)
        checked("in_a_row", self.in_a_row, 1)
        checked_positive("first", self.first)
        checked_positive("longest", self.longest)

    def wait(self, failures: int, chance: float, asked: float | None) -> float:
        """Return the seconds to wait after so many failures.

        >>> Retries().wait(3, 1.0, None), Retries().wait(1, 0.0, None), Retries().wait(1, 0.0, 7.5)
        (4.0, 0.5, 7.5)
        """
        if asked is not None:
            return min(asked, self.longest)
        most = min(self.first * math.pow(2.0, min(failures - 1, 30)), self.longest)
        return most * (0.5 + 0.5 * chance)


class Asker:
    """Asks prompts of one model, so that no answer is paid for twice. Several threads may use it at once.

    Args:
        client: the model.
        store: where answers are kept.
        budget: what may be spent.
        retries: what is done about failures.
        stop: set from outside to stop before the next request.

    Attributes:
        counts: requests sent, answers found in the store, failures by their reason, answers that were not valid.
    """

    def __init__(
        self,
        client: Client,
        store: AnswerStore,
        budget: Budget | None = None,
        retries: Retries | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.client, self.store = client, store
        self.budget = budget or Budget(already=store.paid())
        self.retries, self.stop = retries or Retries(), stop or threading.Event()
        self.counts: Counter[str] = Counter()
        self._mutex = threading.Lock()
        self._same: dict[str, threading.Lock] = {}
        self._not_before = 0.0
        self._failed_in_a_row = 0

    @cached_property
    def usual_tokens(self) -> dict[str, float]:
        """The mean length of the stored answers of this model in tokens, by task, when it is first asked for."""
        return self.store.usual_tokens(self.client.model)

    def ask(self, prompt: Prompt, question: str, task: str) -> Answer:
        """Return the answer to a prompt.

        Args:
            prompt: what is asked.
            question: the name of the question or concept that it is about.
            task: what kind of request it is, for counts and for the store.

        Raises:
            SetAsideError: the endpoint refuses this prompt, or fails at every try.
            BudgetSpentError: it could exceed the budget.
            EndpointError: no request succeeds.
            StoppedError: the run was stopped.
        """
        with self._mutex:
            alone = self._same.setdefault(prompt.key, threading.Lock())
        with alone:  # the same words are never asked twice at once
            found = self.store.find(prompt, self.client.model, question)
            if found is not None:
                self._count("stored")
                return found
            return self._sent(prompt, question, task)

    def ask_valid(
        self, prompt: Prompt, question: str, task: str, parse: Callable[[Answer], Parsed], attempts: int = 3
    ) -> Parsed:
        """Return what `parse` makes of the answer; one that is not valid is asked again, with the error.

        Args:
            prompt: what is asked.
            question: the name of the question or concept that it is about.
            task: what kind of request it is.
            parse: makes something of an answer, or raises `InvalidAnswerError`.
            attempts: how often at most, the first time counted.

        Raises:
            SetAsideError: no attempt gave a valid answer, or as `ask`.
            BudgetSpentError, EndpointError, StoppedError: as `ask`.
        """
        reason = ""
        for attempt in range(attempts):
            answer = self.ask(prompt, question, task)
            try:
                if answer.finish == "length":
                    raise InvalidAnswerError(f"the answer was cut off after {answer.answer_tokens} tokens; be briefer")
                return parse(answer)
            except InvalidAnswerError as error:
                self._count("not valid")
                reason = error.reason
                if attempt + 1 < attempts:
                    said = f"This answer cannot be used: {reason.rstrip('.')}. Answer again, in the form asked for."
                    prompt = prompt.after(answer.text, said)
        raise SetAsideError(task, f"{attempts} answers that are not valid, the last because {reason}")

    def _sent(self, prompt: Prompt, question: str, task: str) -> Answer:
        """Send a request until it is answered; keep the answer."""
        draws = random.Random(prompt.key)  # waits that differ from prompt to prompt
        most = (prompt.guessed_tokens, prompt.max_tokens)
        reason = ""
        for failures in range(1, self.retries.tries + 1):
            self._wait()
            self.budget.reserve(*most)
            took = (0, 0)
            try:
                cost = self.budget.prices.cost(*most)
                self.store.begin(prompt, self.client.model, question, task, sum(most), cost)
                self._count("requests")
                answer = _with_tokens(self.client.ask(prompt), prompt)
                took = (answer.prompt_tokens, answer.answer_tokens)
                self.store.keep(prompt, self.client.model, question, task, answer, self.budget.prices.cost(*took))
                self._failed_in_a_row = 0
                return answer
            except RetryableError as error:
                took = most if error.charged else took
                self.store.forget(prompt, self.client.model, question, error.charged)
                self._count(error.reason)
                reason = error.reason
                if failures < self.retries.tries:
                    self._pause(self.retries.wait(failures, draws.random(), error.wait), error.wait is not None)
            except RefusedError as error:
                self.store.forget(prompt, self.client.model, question)
                raise SetAsideError(task, error.reason) from None
            except EndpointError:
                self.store.forget(prompt, self.client.model, question)
                raise
            finally:
                self.budget.settle(most, took)
        with self._mutex:
            self._failed_in_a_row += 1
            given_up = self._failed_in_a_row >= self.retries.in_a_row
        if given_up:
            problem = f"{self._failed_in_a_row} requests in a row failed {self.retries.tries} times each, with {reason}"
            raise EndpointError(self.client.model, problem, "see whether it is there; the same command goes on")
        raise SetAsideError(task, f"{self.retries.tries} tries without an answer, the last with {reason}")

    def _wait(self) -> None:
        """Wait until requests may be sent.

        Raises:
            StoppedError: the run was stopped.
        """
        while (left := self._not_before - time.monotonic()) > 0 and not self.stop.is_set():
            self.stop.wait(left)
        if self.stop.is_set():
            raise StoppedError("stopped")

    def _pause(self, seconds: float, everyone: bool) -> None:
        """Wait, or let every thread wait."""
        if everyone:
            with self._mutex:
                self._not_before = max(self._not_before, time.monotonic() + seconds)
        else:
            self.stop.wait(seconds)

    def _count(self, what: str) -> None:
        with self._mutex:
            self.counts[what] += 1


class NotStoredError(LPRError):
    """A request would have to be sent."""

    def __init__(self, prompt: Prompt, task: str) -> None:
        self.prompt, self.task = prompt, task
        super().__init__(f"{task}: not in the store")


class StoredAnswers(Asker):
    """Answers from a store alone: a request that would have to be sent is a `NotStoredError`."""

    def _sent(self, prompt: Prompt, question: str, task: str) -> Answer:
        raise NotStoredError(prompt, task)


def _with_tokens(answer: Answer, prompt: Prompt) -> Answer:
    """Return an answer with its tokens guessed where the endpoint did not count them."""
    if answer.prompt_tokens or answer.answer_tokens:
        return answer
    return replace(answer, prompt_tokens=prompt.guessed_tokens, answer_tokens=guess_tokens(answer.text))
