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

    The first concept of a question is the one that it is chosen for: each concept has a question of its own; all other
    questions are chosen for their rarest concept. Concepts for which no question is left are `left_out`.
    """

    items: list[str]
    concepts: list[str]
    item_concepts: Tensor
    left_out: int = 0

    @classmethod
    def read(cls, path: str) -> ConceptMap:
        """Read a JSON file {concept: [questions]}, plain or packed, such as ExRec's `cluster_to_que_ids_map.json`.

        Raises:
            MissingFileError: the file is not there.
            DataError: it is no such map.
        """
        file = existing_file(path, "concept_map")
        found = _mapping(file)
        concepts = sorted(found, key=natural_key)
        items = sorted({question for questions in found.values() for question in questions}, key=natural_key)
        number = {name: place for place, name in enumerate(items)}
        asked = [sorted({number[question] for question in found[name]}) for name in concepts]
        own: dict[int, int] = {}
        order = sorted(range(len(concepts)), key=lambda one: len(asked[one]))
        kept = sorted(one for one in order if _given(one, asked, own))
        on: list[list[int]] = [[] for _ in items]
        for place, concept in enumerate(kept):
            for question in asked[concept]:
                on[question].append(place)
        rank = {concept: place for place, concept in enumerate(kept)}
        rows = []
        for question, many in enumerate(on):
            rarest = min(many, key=lambda one: (len(asked[kept[one]]), one))
            first = rank[own[question]] if question in own else rarest
            rows.append([first, *(one for one in many if one != first)])
        matrix = torch.from_numpy(concept_matrix(rows)).long()
        return cls(items, [concepts[one] for one in kept], matrix, len(concepts) - len(kept))


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


def _given(concept: int, questions: Sequence[list[int]], own: dict[int, int]) -> bool:
    """Give a concept a question of its own, moving others along a shortest augmenting path; False if there is none."""
    reached: dict[int, int] = {}  # a question, and the concept that asks for it
    waiting = [concept]
    for asking in waiting:
        for question in questions[asking]:
            if question in reached:
                continue
            reached[question] = asking
            if question in own:
                waiting.append(own[question])
                continue
            free: int | None = question
            while free is not None:  # each concept on the path takes the question that it asked for
                taker = reached[free]
                before = next((one for one, whose in own.items() if whose == taker), None)
                own[free], free = taker, before
                if before is not None and own.get(before) == taker:
                    del own[before]
            return True
    return False
