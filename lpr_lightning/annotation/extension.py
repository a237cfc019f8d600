"""New questions from old ones: written by a language model, none like another, annotated as the old ones are."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch

from lpr_lightning.annotation.asker import InvalidAnswerError, NotStoredError, SetAsideError, StoredAnswers
from lpr_lightning.annotation.chat import Answer, Prompt
from lpr_lightning.annotation.concepts import GUESSED, Annotated, ConceptAnnotation, Requests
from lpr_lightning.annotation.prompt_templates import numbered
from lpr_lightning.annotation.schema import json_object
from lpr_lightning.annotation.similarity import EncoderVectors, LetterVectors, Vectors, nearest
from lpr_lightning.errors import SettingError, checked, checked_share
from lpr_lightning.questions import Question

TASK, MAX_TOKENS, GUESS = "extend", 1024, 120.0


@dataclass(frozen=True)
class Extension:
    """How a corpus is extended.

    Args:
        per_question: new questions from each old one; three in the paper.
        alike: cosine from which on two questions count as the same.
        encoder: folder or hub name of a text encoder that measures it; None for groups of letters.

    Raises:
        SettingError: a number out of its range.
    """

    per_question: int = 3
    alike: float = 0.9
    encoder: str | None = None

    def __post_init__(self) -> None:
        checked("per_question", self.per_question, 1)
        checked_share("alike", self.alike)


class New(NamedTuple):
    """A new question with its annotations, the name of the old one, and what is new in it."""

    annotated: Annotated
    source: str
    change: str


@dataclass
class Extended:
    """What became of one old question: new ones, and those that were set aside, by name."""

    new: list[New] = field(default_factory=list)
    set_aside: dict[str, SetAsideError] = field(default_factory=dict)


class QuestionExtension:
    """Writes new questions from old ones (ExRec, Ozyurt et al. 2025, section 5 and appendix G), and annotates them.

    Differs from the paper:
      1. The prompt is ours; it sees the new questions of the same old one, so that they differ from each other.
      2. A new question like an old one, or like another new one of the same old one, is asked again and then set aside;
         the paper does not say how copies were kept out. `distinct` drops those alike across old questions.
      3. Steps and concepts of new questions come from the same three requests as those of old ones.

    Args:
        annotation: annotates the new questions, and has the model and the templates.
        extension: how many, and how unlike.
        questions: all old questions.

    Raises:
        SettingError: an old question has no steps or no concepts, or there is no such encoder.
    """

    def __init__(self, annotation: ConceptAnnotation, extension: Extension, questions: Sequence[Question]) -> None:
        bare = next((one for one in questions if not (one.steps and one.concepts)), None)
        if bare is not None:
            allowed = "questions with steps and concepts"
            raise SettingError("questions", bare.name, allowed, "Annotate them first, and extend questions.jsonl")
        self.annotation, self.extension = annotation, extension
        vectors: Vectors = LetterVectors() if extension.encoder is None else EncoderVectors(extension.encoder)
        self._one_at_a_time = threading.Lock()
        self._vectors = vectors
        self._names = [one.name for one in questions]
        self._known = vectors([one.wording for one in questions])

    def __call__(self, question: Question) -> Extended:
        """Return the new questions from one old one.

        Raises:
            BudgetSpentError, EndpointError, StoppedError: as `Asker.ask`.
        """
        found = Extended()
        self._fill(question, found)
        return found

    def still_to_ask(self, question: Question) -> Requests:
        """Return about what extending the question will take, without what the store holds; nothing is sent."""
        asker = self.annotation.asker
        tasks = [TASK, *GUESSED]
        usual = GUESSED | {TASK: GUESS} | asker.usual_tokens
        only = copy(self)
        only.annotation = replace(self.annotation, asker=StoredAnswers(asker.client, asker.store))
        found = Extended()
        try:
            only._fill(question, found)
        except NotStoredError as missing:
            further = self.extension.per_question - len(found.new) - len(found.set_aside) - 1
            left = [*tasks[tasks.index(missing.task) :], *further * tasks]
            return Requests(
                len(left), float(missing.prompt.guessed_tokens * len(left)), sum(usual[task] for task in left)
            )
        return Requests(0, 0.0, 0.0)

    def _fill(self, question: Question, found: Extended) -> None:
        """Make the new questions from one old one, in order."""
        for number in range(1, self.extension.per_question + 1):
            name = f"{question.name}#{number}"
            try:
                made, change = self._written(question, name, [one.annotated.question for one in found.new])
                found.new.append(New(self.annotation(made), question.name, change))
            except SetAsideError as error:
                found.set_aside[name] = error

    def distinct(self, found: Mapping[int, Extended]) -> None:
        """Set aside, in place, new questions that are like one from an earlier old question."""
        kept: list[New] = []
        vectors: list[torch.Tensor] = []
        for _, one in sorted(found.items()):
            own = list(one.new)
            made = self._measured([new.annotated.question.wording for new in own])
            before = len(kept)
            for new, vector in zip(own, made):
                if before:
                    share, place = nearest(vector[None], torch.stack(vectors[:before]))
                    if float(share) >= self.extension.alike:
                        other = kept[int(place)].annotated.question.name
                        one.new.remove(new)
                        reason = f"it is like {other!r} ({float(share):.2f})"
                        one.set_aside[new.annotated.question.name] = SetAsideError(TASK, reason)
                        continue
                kept.append(new)
                vectors.append(vector)

    def _written(self, question: Question, name: str, others: Sequence[Question]) -> tuple[Question, str]:
        """Return a new question and what is new in it."""
        values = {
            "question": question.wording,
            "steps": numbered(question.steps),
            "concepts": numbered(question.concepts),
            "others": numbered(tuple(one.text for one in others)) or "none",
        }
        prompt = Prompt(self.annotation.templates.fill(TASK, values), MAX_TOKENS)

        def parse(answer: Answer) -> tuple[Question, str]:
            text, right, change = _fields(answer)
            self._check(text, others)
            return Question(name, text, answer=right), change

        return self.annotation.asker.ask_valid(prompt, name, TASK, parse, self.annotation.attempts)

    def _check(self, text: str, others: Sequence[Question]) -> None:
        """Refuse a text that is like a question that is there.

        Raises:
            InvalidAnswerError: says which one.
        """
        vectors = self._measured([text, *(one.wording for one in others)])
        share, place = nearest(vectors[:1], torch.cat([self._known, vectors[1:]]))
        if float(share) >= self.extension.alike:
            name = [*self._names, *(one.name for one in others)][int(place)]
            raise InvalidAnswerError(f"it is nearly the same as question {name!r} (likeness {float(share):.2f})")

    def _measured(self, texts: Sequence[str]) -> torch.Tensor:
        with self._one_at_a_time:
            return self._vectors(texts)


def _fields(answer: Answer) -> tuple[str, str, str]:
    """Return the text, the right answer and what is new."""
    value = json_object(answer)
    found = []
    for name in ("question", "answer", "change"):
        one = value.get(name)
        if not isinstance(one, str) or not one.strip():
            raise InvalidAnswerError(f'"{name}" is missing, empty or no text')
        found.append(one.strip())
    return found[0], found[1], found[2]
