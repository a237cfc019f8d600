"""Which questions are on which concepts, by a file: the course that synthetic learners work through."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lpr_lightning.datamodules.source import existing_file, open_source
from lpr_lightning.datamodules.table import concept_matrix, natural_key
from lpr_lightning.errors import DataError


@dataclass(frozen=True)
class ConceptMap:
    """Questions and their concepts: `items` and `concepts` are names, `item_concepts` [Q, C] int64, -1 where unused.

    The first concept of a question is the one that it is chosen for: the one with the fewest questions, so that nearly
    every concept has a question of its own; where a concept has none, it is given one of a concept that has several.
    """

    items: list[str]
    concepts: list[str]
    item_concepts: Tensor

    @classmethod
    def read(cls, path: str) -> ConceptMap:
        """Read a JSON file {concept: [questions]}, plain or packed, such as ExRec's `cluster_to_que_ids_map.json`.

        Raises:
            MissingFileError: the file is not there.
            DataError: it is no such map, or a concept has no question of its own.
        """
        file = existing_file(path, "concept_map")
        found = _mapping(file)
        concepts = sorted(found, key=natural_key)
        items = sorted({question for questions in found.values() for question in questions}, key=natural_key)
        number = {name: place for place, name in enumerate(items)}
        on: list[list[int]] = [[] for _ in items]
        for place, name in enumerate(concepts):
            for question in dict.fromkeys(found[name]):
                on[number[question]].append(place)
        size = [len(set(found[name])) for name in concepts]
        first = _firsts(file, on, size, concepts)
        ordered = [[one, *(other for other in many if other != one)] for one, many in zip(first, on, strict=True)]
        return cls(items, concepts, torch.from_numpy(concept_matrix(ordered)).long())


def _mapping(file: Path) -> dict[str, list[str]]:
    with open_source(file) as source:
        content = source.read()
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(file, "this is no JSON in UTF-8") from error
    if not isinstance(value, dict) or not value or not all(isinstance(one, list) and one for one in value.values()):
        raise DataError(file, "expected an object of concepts, each with a list of its questions")
    return {str(name): [str(one) for one in questions] for name, questions in value.items()}


def _firsts(file: Path, on: Sequence[list[int]], size: Sequence[int], concepts: Sequence[str]) -> list[int]:
    """Return the concept that each question is chosen for."""
    first = [min(many, key=lambda one: (size[one], one)) for many in on]
    count = [0] * len(size)
    for one in first:
        count[one] += 1
    for concept in [place for place, own in enumerate(count) if not own]:
        spare = [question for question, many in enumerate(on) if concept in many and count[first[question]] > 1]
        if not spare:
            raise DataError(file, f"the concept {concepts[concept]!r} has no question of its own; leave it out")
        chosen = max(spare, key=lambda question: count[first[question]])
        count[first[chosen]] -= 1
        first[chosen], count[concept] = concept, 1
    return first
