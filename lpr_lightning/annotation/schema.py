"""What answers must look like: JSON objects that are checked to the last number, or refused with the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from lpr_lightning.annotation.asker import InvalidAnswerError
from lpr_lightning.annotation.chat import Answer
from lpr_lightning.questions import Pairs

_FENCE = re.compile(r"^\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


class ReasonedConcepts(NamedTuple):
    """Knowledge concepts of a question, and for each why the question needs it."""

    names: tuple[str, ...]
    reasons: tuple[str, ...]


def json_object(answer: Answer) -> dict[str, object]:
    """Return the JSON object that an answer is, perhaps in a code block.

    Raises:
        InvalidAnswerError: it is none.

    >>> json_object(Answer('```json\\n{"steps": []}\\n```', 1, 1))
    {'steps': []}
    """
    fenced = _FENCE.match(answer.text)
    try:
        value = json.loads(fenced[1] if fenced else answer.text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidAnswerError("it is not a JSON object") from error
    if not isinstance(value, dict):
        raise InvalidAnswerError(f"it is a JSON {type(value).__name__}, not an object")
    return value


def parse_steps(answer: Answer) -> tuple[str, ...]:
    """Return the steps of a solution (ExRec, eq. 1).

    Raises:
        InvalidAnswerError: there is none, or one is empty or no text.
    """
    return _texts(_list(json_object(answer), "steps"), "step")


def parse_concepts(answer: Answer) -> ReasonedConcepts:
    """Return the concepts of a question with their reasons (ExRec, eq. 2).

    Raises:
        InvalidAnswerError: there is none, a name or reason is missing, or a name is there twice.
    """
    found = _list(json_object(answer), "concepts")
    if not all(isinstance(one, dict) for one in found):
        raise InvalidAnswerError('"concepts" must hold objects with "reason" and "name"')
    rows = [one for one in found if isinstance(one, dict)]
    names = _texts([one.get("name") for one in rows], "name of a concept")
    reasons = _texts([one.get("reason") for one in rows], "reason")
    once = {name.casefold() for name in names}
    if len(once) < len(names):
        raise InvalidAnswerError("a concept is named twice")
    return ReasonedConcepts(names, reasons)


def parse_pairs(answer: Answer, steps: int, concepts: int) -> Pairs:
    """Return which step needs which concept, from 0 (ExRec, eq. 3, 4).

    Args:
        answer: pairs from 1.
        steps: how many steps there are.
        concepts: how many concepts there are.

    Raises:
        InvalidAnswerError: a pair is none, out of range or there twice, or a step or concept is in no pair.

    >>> parse_pairs(Answer('{"pairs": [[1, 2], [2, 1]]}', 1, 1), 2, 2)
    ((0, 1), (1, 0))
    """
    pairs: list[tuple[int, int]] = []
    for one in _list(json_object(answer), "pairs"):
        if not (isinstance(one, list) and len(one) == 2 and all(type(number) is int for number in one)):
            raise InvalidAnswerError(f"{json.dumps(one)[:60]} is no pair of two whole numbers")
        step, concept = int(one[0]), int(one[1])
        if not 1 <= step <= steps:
            raise InvalidAnswerError(f"pair [{step}, {concept}] names step {step}, but steps go from 1 to {steps}")
        if not 1 <= concept <= concepts:
            raise InvalidAnswerError(
                f"pair [{step}, {concept}] names concept {concept}, but concepts go from 1 to {concepts}"
            )
        if (step - 1, concept - 1) in pairs:
            raise InvalidAnswerError(f"pair [{step}, {concept}] is there twice")
        pairs.append((step - 1, concept - 1))
    for what, count, place in (("step", steps, 0), ("concept", concepts, 1)):
        missing = sorted(set(range(count)) - {pair[place] for pair in pairs})
        if missing:
            raise InvalidAnswerError(f"{what} {missing[0] + 1} is in no pair")
    return tuple(pairs)


def _list(value: Mapping[str, object], name: str) -> list[object]:
    found = value.get(name)
    if not isinstance(found, list):
        raise InvalidAnswerError(f'the object has no list "{name}"')
    if not found:
        raise InvalidAnswerError(f'"{name}" is empty')
    return found


def _texts(values: list[object], what: str) -> tuple[str, ...]:
    """Return texts without what surrounds them, none of them empty."""
    texts = []
    for number, value in enumerate(values, 1):
        if not isinstance(value, str) or not value.strip():
            raise InvalidAnswerError(f"{what} {number} is missing, empty or no text")
        texts.append(" ".join(value.split()))
    return tuple(texts)
