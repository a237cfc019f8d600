"""Questions in words: wording, options, solution steps, knowledge concepts, and which step needs which concept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lpr_lightning.errors import SettingError

Pairs = tuple[tuple[int, int], ...]
"""Pairs (step, concept) of one question: its step's place from 0, the place from 0 among its own concepts."""


@dataclass(frozen=True)
class Question:
    """One question in words (ExRec, Ozyurt et al. 2025, section 4.1: q, S, C and their mapping, eq. 1-4).

    Args:
        name: its raw name, the id that files of vectors use.
        text: its wording.
        options: what may be chosen; empty where the answer is free.
        answer: the right answer in words; empty where unknown.
        steps: a solution, step by step; empty where there is none.
        concepts: knowledge concepts that it asks for, by name.
        pairs: which step needs which of `concepts`.

    Raises:
        SettingError: a concept or a pair is named twice, or a pair is out of range.
    """

    name: str
    text: str
    options: tuple[str, ...] = ()
    answer: str = ""
    steps: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()
    pairs: Pairs = ()

    def __post_init__(self) -> None:
        if len(set(self.concepts)) < len(self.concepts):
            raise SettingError("concepts", list(self.concepts), f"each concept once, in question {self.name!r}")
        if len(set(self.pairs)) < len(self.pairs):
            raise SettingError("pairs", list(self.pairs), f"each pair once, in question {self.name!r}")
        for step, concept in self.pairs:
            if not (0 <= step < len(self.steps) and 0 <= concept < len(self.concepts)):
                allowed = f"a step below {len(self.steps)} and a concept below {len(self.concepts)}, from 0"
                raise SettingError("pairs", (step, concept), f"{allowed}, in question {self.name!r}")

    @property
    def wording(self) -> str:
        """The text and the options, as a learner reads them; a text that has every option already stays as it is.

        >>> Question("7", "Which is prime?", options=("4", "5")).wording
        'Which is prime?\\n(A) 4\\n(B) 5'
        """
        if all(one in self.text for one in self.options):
            return self.text
        return "\n".join([self.text, *(f"({_letter(place)}) {one}" for place, one in enumerate(self.options))])


@dataclass(frozen=True)
class Questions:
    """The questions of a data set or of a file, by number.

    Args:
        questions: each question; of a data set, by item number.
        concept_names: every concept of any question, by number; those of `questions`, as they come, if not given.

    Raises:
        SettingError: two questions or concepts have one name, or a question is on a concept that is not listed.
    """

    questions: tuple[Question, ...]
    concept_names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        names = self.concept_names or tuple(dict.fromkeys(one for each in self.questions for one in each.concepts))
        object.__setattr__(self, "concept_names", names)
        for what, values in (("questions", self.names), ("concept_names", names)):
            if len(set(values)) < len(values):
                twice = next(one for one in values if values.count(one) > 1)
                raise SettingError(what, twice, "each name once")
        known = set(names)
        for question in self.questions:
            if not known.issuperset(question.concepts):
                strange = next(one for one in question.concepts if one not in known)
                raise SettingError("concepts", strange, f"one of concept_names, in question {question.name!r}")

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, number: int) -> Question:
        return self.questions[number]

    @property
    def names(self) -> tuple[str, ...]:
        """Raw names by number."""
        return tuple(one.name for one in self.questions)

    @property
    def concept_numbers(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of each question's concepts.

        >>> both = Questions((Question("a", "?", concepts=("x", "y")), Question("b", "?", concepts=("y",))))
        >>> both.concept_names, both.concept_numbers
        (('x', 'y'), ((0, 1), (1,)))
        """
        number = {name: place for place, name in enumerate(self.concept_names)}
        return tuple(tuple(number[one] for one in each.concepts) for each in self.questions)

    def only(self, numbers: Sequence[int]) -> Questions:
        """Return some of the questions, in this order; the concepts stay as they are numbered."""
        return Questions(tuple(self.questions[one] for one in numbers), self.concept_names)


def _letter(place: int) -> str:
    """Return A, B, ... Z, AA, AB, ... for 0, 1, ...

    >>> [_letter(place) for place in (0, 25, 26)]
    ['A', 'Z', 'AA']
    """
    rest, last = divmod(place, 26)
    return (_letter(rest - 1) if rest else "") + chr(ord("A") + last)
