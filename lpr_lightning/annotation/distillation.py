"""What LDSim distils from a language model, offline: prerequisites of concepts, and mastery from learners' answers."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from lpr_lightning.annotation.asker import Asker, InvalidAnswerError, SetAsideError
from lpr_lightning.annotation.chat import Answer, Client, Message, Prompt
from lpr_lightning.annotation.prompt_templates import Templates, numbered
from lpr_lightning.annotation.runner import Outcome, run_all
from lpr_lightning.annotation.schema import json_object
from lpr_lightning.annotation.store import AnswerStore
from lpr_lightning.annotation.work import Plan, Status
from lpr_lightning.cache import atomic_write

LEVELS, RECORDS, SAMPLES = 5, 50, 3
"""Levels of mastery, from none to full; the latest answers that are shown; answers where a model tells no token
probabilities."""
PREREQUISITES, LABELS = "prerequisites.jsonl", "labels.jsonl"
MAX_TOKENS = 512
Item = TypeVar("Item")
Found = TypeVar("Found")
Line = Mapping[str, object]


class Prerequisite(NamedTuple):
    """A concept that another one builds on, by its number from 0, and how sure the model is, in [0, 1]."""

    concept: int
    confidence: float


@dataclass(frozen=True)
class Prefix:
    """What is shown of a learner, and what is asked.

    Args:
        learner: number in the data set.
        step: answers that had been given.
        records: (concepts of the question, whether it was answered right), the latest last.
        concepts: names of the concepts to judge.
        prerequisites: (needed, needing), names of concepts around these.
    """

    learner: int
    step: int
    records: tuple[tuple[str, bool], ...]
    concepts: tuple[str, ...]
    prerequisites: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ConceptPrerequisites:
    """Asks which concepts of a course one of them builds on: a request a concept, not one a pair.

    Args:
        asker: the model.
        templates: the prompts' words.
        names: of all concepts.
        attempts: how often a request is asked until its answer is valid.
    """

    asker: Asker
    templates: Templates
    names: tuple[str, ...]
    attempts: int = 3

    def __call__(self, concept: int) -> tuple[Prerequisite, ...]:
        """Return the prerequisites of a concept.

        Raises:
            SetAsideError: no attempt gave a valid answer.
            BudgetSpentError, EndpointError, StoppedError: as `Asker.ask`.
        """
        name = self.names[concept]
        words = self.templates.fill("prerequisites", {"concept": name, "concepts": numbered(self.names)})

        def parse(answer: Answer) -> tuple[Prerequisite, ...]:
            return parse_prerequisites(answer, concept, len(self.names))

        return self.asker.ask_valid(Prompt(words, MAX_TOKENS), name, "prerequisites", parse, self.attempts)


@dataclass(frozen=True)
class MasteryLevels:
    """Asks how well a learner masters concepts after some answers; each gets a distribution over the levels.

    It comes from the probabilities of the digits in the answer where the model tells them, else from `SAMPLES` answers
    at temperature 1.

    Args:
        asker: the model.
        templates: the prompts' words.
        attempts: how often a request is asked until its answer is valid.
    """

    asker: Asker
    templates: Templates
    attempts: int = 3

    def __call__(self, prefix: Prefix) -> tuple[tuple[float, ...], ...]:
        """Return the distribution over the levels of each concept.

        Raises:
            SetAsideError: no attempt gave a valid answer.
            BudgetSpentError, EndpointError, StoppedError: as `Asker.ask`.
        """
        count, about = len(prefix.concepts), f"learner {prefix.learner}, step {prefix.step}"
        prompt = Prompt(self._words(prefix), MAX_TOKENS, alternatives=LEVELS)

        def parse(answer: Answer) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...] | None]:
            levels = parse_levels(answer, count)
            return levels, level_shares(answer, levels)

        levels, shares = self.asker.ask_valid(prompt, about, "mastery", parse, self.attempts)
        if shares is not None:
            return shares
        drawn = [levels]
        for sample in range(1, SAMPLES):
            again = replace(prompt, temperature=1.0, sample=sample, alternatives=0)
            drawn.append(self.asker.ask_valid(again, about, "mastery", lambda one: parse_levels(one, count)))
        return tuple(
            tuple(Counter(one[place] for one in drawn)[level] / len(drawn) for level in range(LEVELS))
            for place in range(count)
        )

    def _words(self, prefix: Prefix) -> tuple[Message, Message]:
        records = (f"{name}: {'right' if right else 'wrong'}" for name, right in prefix.records[-RECORDS:])
        pairs = tuple(f"{needing} builds on {needed}" for needed, needing in prefix.prerequisites)
        values = {
            "concepts": numbered(prefix.concepts),
            "records": numbered(tuple(records)) or "none",
            "prerequisites": numbered(pairs) or "not known",
        }
        return self.templates.fill("mastery", values)


def parse_prerequisites(answer: Answer, concept: int, count: int) -> tuple[Prerequisite, ...]:
    """Return the prerequisites of `concept` among `count` concepts, from 0.

    Raises:
        InvalidAnswerError: one is none of them, the concept itself or there twice, or a confidence is out of range.

    >>> parse_prerequisites(Answer('{"prerequisites": [{"number": 2, "confidence": 0.75}]}', 1, 1), 0, 3)
    (Prerequisite(concept=1, confidence=0.75),)
    """
    rows = json_object(answer).get("prerequisites")
    if not isinstance(rows, list):
        raise InvalidAnswerError('the object has no list "prerequisites"')
    found: list[Prerequisite] = []
    for row in rows:
        number, sure = (row.get("number"), row.get("confidence")) if isinstance(row, dict) else (None, None)
        if type(number) is not int or not 1 <= number <= count:
            raise InvalidAnswerError(f"{json.dumps(row)[:60]} names no concept: numbers go from 1 to {count}")
        if isinstance(sure, bool) or not isinstance(sure, int | float) or not 0 <= sure <= 1:
            raise InvalidAnswerError(f"the confidence of concept {number} is no number from 0 to 1")
        if number - 1 == concept:
            raise InvalidAnswerError(f"concept {number} is the one that is asked about")
        if any(one.concept == number - 1 for one in found):
            raise InvalidAnswerError(f"concept {number} is there twice")
        found.append(Prerequisite(number - 1, float(sure)))
    return tuple(found)


def parse_levels(answer: Answer, count: int) -> tuple[int, ...]:
    """Return the levels of `count` concepts.

    Raises:
        InvalidAnswerError: there are fewer or more, or one is no level.

    >>> parse_levels(Answer('{"levels": [4, 0]}', 1, 1), 2)
    (4, 0)
    """
    levels = json_object(answer).get("levels")
    if not isinstance(levels, list) or len(levels) != count:
        raise InvalidAnswerError(f'"levels" must be a list of {count} numbers')
    for level in levels:
        if type(level) is not int or not 0 <= level < LEVELS:
            raise InvalidAnswerError(f"{json.dumps(level)[:20]} is no level: expected 0 to {LEVELS - 1}")
    return tuple(levels)


def level_shares(answer: Answer, levels: tuple[int, ...]) -> tuple[tuple[float, ...], ...] | None:
    """Return the distribution over the levels at each of an answer's levels, None where token probabilities do not say.

    A level's token is one that holds a digit and nothing else but brackets, commas and blanks; there must be as many as
    levels. Alternatives of other kinds are left out, and the rest sums to 1.

    >>> from lpr_lightning.annotation.chat import Token
    >>> digit = Token(" 3", math.log(0.6), ((" 3", math.log(0.6)), (" 4", math.log(0.2)), (" x", math.log(0.1))))
    >>> answer = Answer('{"levels": [3]}', 1, 1, tokens=(Token('{"levels": [', 0.0), digit, Token("]}", 0.0)))
    >>> [round(share, 2) for share in level_shares(answer, (3,))[0]]
    [0.0, 0.0, 0.0, 0.75, 0.25]
    """
    digits = [one for one in answer.tokens if _level(one.text) is not None]
    if not levels or [_level(one.text) for one in digits] != list(levels):
        return None
    shares = []
    for token in digits:
        weight = [0.0] * LEVELS
        for text, log_prob in token.alternatives or ((token.text, token.log_prob),):
            if (level := _level(text)) is not None:
                weight[level] += math.exp(log_prob)
        total = sum(weight)
        if not total > 0:
            return None
        shares.append(tuple(one / total for one in weight))
    return tuple(shares)


def _level(token: str) -> int | None:
    """Return the level that a token says, if it says one."""
    inner = token.strip(" \n\t[],")
    return int(inner) if len(inner) == 1 and inner in "01234" else None


def ask_prerequisites(
    names: Sequence[str],
    client: Client,
    plan: Plan,
    stop: threading.Event | None = None,
    report: Callable[[Status], None] | None = None,
) -> Status:
    """Ask for the prerequisites of every concept, and write `prerequisites.jsonl` into the plan's folder.

    The file is one for `--model.graph`: a line for each pair, `needed`, `needing`, `confidence`. Killed at any moment
    and called again it goes on, with what the store holds.

    Raises:
        EndpointError: no request succeeds; what was done before is in the file.
    """
    every = tuple(names)

    def work(asker: Asker) -> Callable[[int], tuple[Prerequisite, ...]]:
        return ConceptPrerequisites(asker, plan.templates, every, plan.attempts)

    def lines(concept: int, found: tuple[Prerequisite, ...]) -> list[Line]:
        return [
            {"needed": every[one.concept], "needing": every[concept], "confidence": one.confidence} for one in found
        ]

    return _Job(plan, PREREQUISITES, work, lines).run(range(len(every)), client, stop, report)


def ask_mastery(
    prefixes: Sequence[Prefix],
    client: Client,
    plan: Plan,
    stop: threading.Event | None = None,
    report: Callable[[Status], None] | None = None,
) -> Status:
    """Ask for learners' mastery, and write `labels.jsonl` into the plan's folder; as `ask_prerequisites`.

    The file is one for `--model.labels`: a line for each concept of each prefix, `learner`, `step`, `concept`, and
    `level_0` to `level_4`, the distribution over the levels.
    """

    def work(asker: Asker) -> Callable[[Prefix], tuple[tuple[float, ...], ...]]:
        return MasteryLevels(asker, plan.templates, plan.attempts)

    def lines(prefix: Prefix, found: tuple[tuple[float, ...], ...]) -> list[Line]:
        return [
            {"learner": prefix.learner, "step": prefix.step, "concept": name}
            | {f"level_{level}": share for level, share in enumerate(shares)}
            for name, shares in zip(prefix.concepts, found, strict=True)
        ]

    return _Job(plan, LABELS, work, lines).run(prefixes, client, stop, report)


@dataclass(frozen=True)
class _Job(Generic[Item, Found]):
    """Asks about many items and writes what came out: `name`, and `set_aside.jsonl` beside it."""

    plan: Plan
    name: str
    work: Callable[[Asker], Callable[[Item], Found]]
    lines: Callable[[Item, Found], list[Line]]

    def run(
        self,
        items: Sequence[Item],
        client: Client,
        stop: threading.Event | None,
        report: Callable[[Status], None] | None,
    ) -> Status:
        limit = self.plan.limits.questions
        chosen = items if limit is None else items[:limit]
        outcome: Outcome[Found] = Outcome()
        with AnswerStore(self.plan.store) as store:
            asker = Asker(client, store, self.plan.budget(store), self.plan.retries, stop)

            def status() -> Status:
                aside = Counter(str(one) for one in outcome.set_aside.values())
                spent = (asker.budget.tokens, asker.budget.money)
                done = len(outcome.results)
                return Status(len(chosen), done, dict(aside), dict(asker.counts), *spent, store.lost, outcome.stopped)

            def tell(_: Outcome[Found]) -> None:
                if report is not None:
                    report(status())

            try:
                run_all(chosen, self.work(asker), self.plan.workers, asker.stop, tell, outcome)
            finally:
                self._write(chosen, outcome)
            return status()

    def _write(self, items: Sequence[Item], outcome: Outcome[Found]) -> None:
        done = [line for place, found in sorted(outcome.results.items()) for line in self.lines(items[place], found)]
        aside = [_told(items[place], error) for place, error in sorted(outcome.set_aside.items())]
        for name, rows in ((self.name, done), (f"set_aside_{self.name}", aside)):
            with atomic_write(Path(self.plan.folder) / name) as staged:
                text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
                staged.write_text(text, encoding="utf-8")


def _told(item: object, error: SetAsideError) -> Line:
    about = {"learner": item.learner, "step": item.step} if isinstance(item, Prefix) else {"concept": item}
    return {**about, "request": error.task, "reason": error.reason}
