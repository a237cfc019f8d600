"""A whole corpus annotated: what is to be done as plain values, the files that come out, and what is told about it."""

from __future__ import annotations

import json
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from lpr_lightning.annotation.asker import Asker, Retries, SetAsideError
from lpr_lightning.annotation.budget import Budget, Prices
from lpr_lightning.annotation.chat import Client
from lpr_lightning.annotation.concepts import Annotated, ConceptAnnotation, Requests
from lpr_lightning.annotation.prompt_templates import Templates
from lpr_lightning.annotation.runner import Outcome, run_all
from lpr_lightning.annotation.store import AnswerStore
from lpr_lightning.cache import atomic_write
from lpr_lightning.errors import checked, checked_or_none
from lpr_lightning.questions import Question

Result = TypeVar("Result")

STORE, QUESTIONS, SET_ASIDE = "answers.db", "questions.jsonl", "set_aside.jsonl"


@dataclass(frozen=True)
class Limits:
    """What a folder's runs may take, all of them together; None for no limit.

    Args:
        questions: the first so many questions of the file.
        tokens: sent and received.
        money: in the currency of the prices.

    Raises:
        SettingError: a number below 0.
    """

    questions: int | None = None
    tokens: int | None = None
    money: float | None = None

    def __post_init__(self) -> None:
        checked_or_none("questions", self.questions, 0)
        checked_or_none("tokens", self.tokens, 0)
        checked_or_none("money", self.money, 0.0)


@dataclass(frozen=True)
class Plan:
    """How questions are annotated, whichever they are and whoever answers.

    Args:
        folder: where answers and files go; the same folder goes on where a run ended.
        templates: the prompts' words.
        keep: whether steps, concepts and pairs that a question has are kept.
        attempts: how often a request is asked until its answer is valid.
        workers: how many questions at once.
        retries: what is done about failures.
        prices: of a million tokens.
        limits: what may be spent.

    Raises:
        SettingError: less than one attempt or worker.
    """

    folder: str
    templates: Templates = field(default_factory=Templates)
    keep: bool = True
    attempts: int = 3
    workers: int = 8
    retries: Retries = field(default_factory=Retries)
    prices: Prices = field(default_factory=Prices)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        checked("attempts", self.attempts, 1)
        checked("workers", self.workers, 1)

    @property
    def store(self) -> Path:
        """The file of answers."""
        return Path(self.folder) / STORE

    def budget(self, store: AnswerStore) -> Budget:
        """Return what may still be spent."""
        return Budget(self.prices, self.limits.tokens, self.limits.money, store.paid())

    def chosen(self, questions: Sequence[Question]) -> Sequence[Question]:
        """Return the questions within the limit."""
        return questions if self.limits.questions is None else questions[: self.limits.questions]


@dataclass
class Status:
    """Where a run stands.

    Args:
        total: questions to annotate.
        done: annotated.
        set_aside: how many were set aside, by reason.
        counts: requests, answers found in the store, failures by reason.
        tokens: of all runs in the folder.
        money: of all runs in the folder; None where prices are not known.
        lost: requests that were under way when an earlier run was killed.
        stopped: why the rest was left; empty where nothing was.
    """

    total: int
    done: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    money: float | None = None
    lost: int = 0
    stopped: str = ""

    def __str__(self) -> str:
        """One line.

        >>> print(Status(9, 4, {"steps: refused": 1}, {"requests": 13, "status 500": 2}, 5120, 0.25))
        4 of 9 questions, 1 set aside; 13 requests (2 tried again); 5,120 tokens, 0.25
        """
        again = sum(count for what, count in self.counts.items() if what not in ("requests", "stored", "not valid"))
        aside = f", {sum(self.set_aside.values())} set aside" if self.set_aside else ""
        found = f", {self.counts['stored']:,} answers found in the store" if self.counts.get("stored") else ""
        tried = f" ({again} tried again)" if again else ""
        money = "" if self.money is None else f", {self.money:.4g}"
        requests = f"{self.counts.get('requests', 0):,} requests{tried}{found}"
        return f"{self.done} of {self.total} questions{aside}; {requests}; {self.tokens:,} tokens{money}"


class Job(Protocol[Result]):
    """What is done with each question, and what is written about it.

    `file` is the name of what comes out; `total` what `done` counts up to.
    """

    file: str
    total: int

    def work(self, asker: Asker) -> Callable[[Question], Result]:
        """Return what makes a result of a question; called in several threads."""
        ...

    def done(self, outcome: Outcome[Result]) -> int:
        """Return how many lines `rows` has."""
        ...

    def finish(self, outcome: Outcome[Result]) -> None:
        """Look at all results together, before they are written."""
        ...

    def rows(self, outcome: Outcome[Result]) -> list[dict[str, object]]:
        """Return the lines of the file that comes out: fields of `Question`, perhaps with others."""
        ...

    def set_aside(self, outcome: Outcome[Result]) -> dict[str, SetAsideError]:
        """Return why others were set aside, by name."""
        ...

    def still_to_ask(self, asker: Asker, question: Question) -> Requests:
        """Return about what a question will take, without what the store holds."""
        ...


class ConceptJob:
    """Questions get steps, concepts and pairs, in `questions.jsonl`.

    Args:
        questions: what to annotate.
        plan: how.
    """

    file = QUESTIONS

    def __init__(self, questions: Sequence[Question], plan: Plan) -> None:
        self.total, self._questions, self._plan = len(questions), questions, plan

    def work(self, asker: Asker) -> ConceptAnnotation:
        """Return what annotates one question."""
        return ConceptAnnotation(asker, self._plan.templates, self._plan.keep, self._plan.attempts)

    def done(self, outcome: Outcome[Annotated]) -> int:
        """Return how many questions are annotated."""
        return len(outcome.results)

    def finish(self, outcome: Outcome[Annotated]) -> None:
        """Nothing: each question stands alone."""

    def rows(self, outcome: Outcome[Annotated]) -> list[dict[str, object]]:
        """Return the annotated questions, with the concepts' reasons."""
        return [asdict(one.question) | {"reasons": one.reasons} for _, one in sorted(outcome.results.items())]

    def set_aside(self, outcome: Outcome[Annotated]) -> dict[str, SetAsideError]:
        """Return why questions were set aside."""
        return {self._questions[place].name: error for place, error in sorted(outcome.set_aside.items())}

    def still_to_ask(self, asker: Asker, question: Question) -> Requests:
        """Return about what a question will take."""
        return self.work(asker).still_to_ask(question)


def run(
    job: Job[Result],
    questions: Sequence[Question],
    client: Client,
    plan: Plan,
    stop: threading.Event | None = None,
    report: Callable[[Status], None] | None = None,
    wait: float = 0.0,
) -> Status:
    """Do a job for each question, and write its file and `set_aside.jsonl` into the plan's folder.

    Killed at any moment and called again it goes on, with what the store holds.

    Args:
        job: what is done.
        questions: those that it was made for.
        client: the model.
        plan: how.
        stop: ends the run when it is set, once the requests under way are answered.
        report: called as the run goes on.
        wait: seconds to wait for another process that still uses the folder.

    Raises:
        EndpointError: no request succeeds; what was done before is in the files.
        SettingError, DamagedFileError, UnwritableFileError: as `AnswerStore`.
    """
    outcome: Outcome[Result] = Outcome()
    with AnswerStore(plan.store, wait) as store:
        asker = Asker(client, store, plan.budget(store), plan.retries, stop)

        def status() -> Status:
            aside = Counter(str(one) for one in job.set_aside(outcome).values())
            spent = (asker.budget.tokens, asker.budget.money)
            done = job.done(outcome)
            return Status(job.total, done, dict(aside), dict(asker.counts), *spent, store.lost, outcome.stopped)

        def tell(_: Outcome[Result]) -> None:
            if report is not None:
                report(status())

        try:
            run_all(questions, job.work(asker), plan.workers, asker.stop, tell, outcome)
        finally:
            job.finish(outcome)
            aside = [
                {"name": name, "request": error.task, "reason": error.reason}
                for name, error in job.set_aside(outcome).items()
            ]
            _write(Path(plan.folder) / job.file, job.rows(outcome))
            _write(Path(plan.folder) / SET_ASIDE, aside)
        return status()


def annotate(
    questions: Sequence[Question],
    client: Client,
    plan: Plan,
    stop: threading.Event | None = None,
    report: Callable[[Status], None] | None = None,
    wait: float = 0.0,
) -> Status:
    """Give questions steps, concepts and pairs, in `questions.jsonl`; arguments and errors as those of `run`."""
    chosen = plan.chosen(questions)
    return run(ConceptJob(chosen, plan), chosen, client, plan, stop, report, wait)


def still_to_ask(
    each: Callable[[Asker, Question], Requests], questions: Sequence[Question], client: Client, plan: Plan
) -> Requests:
    """Return about what a job, by its `still_to_ask`, will still take; nothing is sent, no file is made."""
    there = plan.store.is_file()
    with tempfile.TemporaryDirectory() as empty, AnswerStore(plan.store if there else Path(empty) / STORE) as store:
        asker = Asker(client, store)
        needed = [each(asker, question) for question in questions]
    return Requests(
        sum(one.requests for one in needed),
        sum(one.prompt_tokens for one in needed),
        sum(one.answer_tokens for one in needed),
    )


def _write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with atomic_write(path) as staged:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        staged.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
