"""A corpus extended: the job that writes new questions, annotated, into `extended.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from lpr_lightning.annotation.asker import Asker, SetAsideError
from lpr_lightning.annotation.concepts import ConceptAnnotation, Requests
from lpr_lightning.annotation.extension import Extended, Extension, QuestionExtension
from lpr_lightning.annotation.runner import Outcome
from lpr_lightning.annotation.work import Plan
from lpr_lightning.questions import Question

EXTENDED = "extended.jsonl"


class ExtensionJob:
    """Each question gives rise to new ones; what is like another question is set aside.

    Args:
        questions: the old ones, annotated.
        plan: how.
        extension: how many, and how unlike.

    Raises:
        SettingError: a question has no steps or no concepts, or there is no such encoder.
    """

    file = EXTENDED

    def __init__(self, questions: Sequence[Question], plan: Plan, extension: Extension) -> None:
        self.total = len(questions) * extension.per_question
        self._questions, self._plan, self._extension = questions, plan, extension
        self._work: QuestionExtension | None = None

    def work(self, asker: Asker) -> QuestionExtension:
        """Return what extends one question."""
        if self._work is None or self._work.annotation.asker is not asker:
            annotation = ConceptAnnotation(asker, self._plan.templates, True, self._plan.attempts)
            self._work = QuestionExtension(annotation, self._extension, self._questions)
        return self._work

    def done(self, outcome: Outcome[Extended]) -> int:
        """Return how many new questions there are."""
        return sum(len(one.new) for one in outcome.results.values())

    def finish(self, outcome: Outcome[Extended]) -> None:
        """Set aside new questions that are like one from another old question."""
        if self._work is not None:
            self._work.distinct(outcome.results)

    def rows(self, outcome: Outcome[Extended]) -> list[dict[str, object]]:
        """Return the new questions, with the old one's name, what is new, and the concepts' reasons."""
        return [
            asdict(new.annotated.question)
            | {"reasons": new.annotated.reasons, "source": new.source, "change": new.change}
            for _, one in sorted(outcome.results.items())
            for new in one.new
        ]

    def set_aside(self, outcome: Outcome[Extended]) -> dict[str, SetAsideError]:
        """Return why new questions were set aside."""
        every = [one.set_aside for _, one in sorted(outcome.results.items())]
        return {name: error for one in every for name, error in one.items()}

    def still_to_ask(self, asker: Asker, question: Question) -> Requests:
        """Return about what a question will take."""
        return self.work(asker).still_to_ask(question)
