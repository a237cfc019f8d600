"""Wording for the questions of learners of known truth: templates by topic, level and difficulty, with steps."""

from __future__ import annotations

import random
from collections.abc import Sequence

from torch import Tensor

from lpr_lightning.questions import Question, Questions

_TOPICS = {
    "Fractions": ("fraction", "slices of a pizza"),
    "Equations": ("equation", "weights on a balance"),
    "Geometry": ("angle", "sides of a triangular garden"),
    "Probability": ("chance", "marbles in a bag"),
    "Functions": ("function", "fares of a taxi"),
    "Statistics": ("mean", "temperatures of a week"),
    "Decimals": ("decimal", "prices in a shop"),
    "Ratios": ("ratio", "cups of juice and water"),
    "Measurement": ("length", "planks of a fence"),
    "Integers": ("negative number", "floors of a lift"),
    "Sequences": ("sequence", "rows of seats in a theatre"),
    "Vectors": ("vector", "paths of a ship"),
}
_LEVELS = (
    ("name", "Which {noun} belongs to {a} and {b}, as seen in the {things}?"),
    ("compare", "{who} compares two cases of {things}, {a} and {b}. Which {noun} is greater?"),
    ("combine", "{who} puts {a} and {b} {things} together. What {noun} results?"),
    ("solve for an unknown", "The {noun} of some {things} is {b} once {a} is known. Which value is missing?"),
    ("model a situation with", "{who} plans for {a} {things} and wants {b} in the end. Write the {noun} and use it."),
)
_NAMES = ("Ada", "Ben", "Chen", "Dina", "Emil", "Fatou", "Gita", "Hugo")
_HARDER = ("", " Explain how you know.", " Check the result in a second way.")


def needed_concepts(prerequisites: Tensor | None, num_concepts: int) -> list[list[int]]:
    """Return the direct prerequisites of each concept, of edges (needed, needing) [E, 2].

    >>> import torch
    >>> needed_concepts(torch.tensor([[0, 1], [0, 2]]), 3)
    [[], [0], [0]]
    """
    needs: list[list[int]] = [[] for _ in range(num_concepts)]
    for before, after in [] if prerequisites is None else prerequisites.tolist():
        needs[after].append(before)
    return needs


def worded_questions(
    names: Sequence[str],
    concept_names: Sequence[str],
    concepts: Sequence[int],
    difficulty: Sequence[float],
    needs: Sequence[Sequence[int]],
    seed: int,
) -> Questions:
    """Return a question in words for each exercise: a step for each prerequisite of its concept, then its own.

    Args:
        names: raw names of the exercises.
        concept_names: names of the concepts, such as "Fractions 3": a topic and a level.
        concepts: the concept of each exercise.
        difficulty: of each exercise, on the logit scale; harder ones have larger numbers and ask for more.
        needs: direct prerequisites of each concept.
        seed: of the numbers and names in the wording.

    >>> made = worded_questions(["x"], ["Fractions 1", "Fractions 2"], [1], [0.0], [[], [0]], seed=0)
    >>> made[0].text
    'Chen compares two cases of slices of a pizza, 7 and 19. Which fraction is greater?'
    >>> made[0].steps
    ('Name the fraction at hand.', 'Then compare the fraction: 7 and 19.')
    >>> made[0].concepts, made[0].pairs
    (('Fractions 2', 'Fractions 1'), ((0, 1), (1, 0)))
    """
    made = []
    for number, (name, concept, hard) in enumerate(zip(names, concepts, difficulty, strict=True)):
        draw = random.Random(f"{seed} {number}")
        noun, things, level = _words(concept_names[concept])
        reach = round(10 * 2 ** max(-1.0, min(hard, 3.0)))
        a, b = draw.randint(2, reach), reach + draw.randint(1, 2 * reach)
        text = _LEVELS[level][1].format(noun=noun, things=things, a=a, b=b, who=draw.choice(_NAMES))
        before = needs[concept]
        steps = [
            f"{_verb(concept_names[one]).capitalize()} the {_words(concept_names[one])[0]} at hand." for one in before
        ]
        own = f"{_LEVELS[level][0]} the {noun}: {a} and {b}."
        made.append(
            Question(
                name=name,
                text=text + _HARDER[(hard > 0.5) + (hard > 1.5)],
                steps=(*dict.fromkeys(steps), f"Then {own}" if steps else own.capitalize()),
                concepts=(concept_names[concept], *(concept_names[one] for one in before)),
                pairs=_pairs(steps),
            )
        )
    return Questions(tuple(made), tuple(concept_names))


def _pairs(steps: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Return which step needs which concept: the last the question's own, each other one its prerequisites."""
    distinct = list(dict.fromkeys(steps))
    return (*((distinct.index(one), place + 1) for place, one in enumerate(steps)), (len(distinct), 0))


def _words(concept: str) -> tuple[str, str, int]:
    """Return a topic's noun and things, and the level from 0."""
    topic, _, level = concept.rpartition(" ")
    noun, things = _TOPICS.get(topic, (topic.lower() or concept.lower(), "things"))
    return noun, things, (int(level) - 1) % len(_LEVELS) if level.isdigit() else 0


def _verb(concept: str) -> str:
    return _LEVELS[_words(concept)[2]][0]
