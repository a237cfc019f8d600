"""Files of questions in words: one JSON object a line, and the annotations of KCQRL and ExRec."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from lpr_lightning.cache import atomic_write
from lpr_lightning.errors import DataError, MissingFileError
from lpr_lightning.questions import Pairs, Question, Questions

ADVICE = "give a .jsonl file of questions, or an annotated .json of KCQRL or ExRec"
_STEPS = ("step_by_step_solution_list", "Solution_Steps", "steps")
_CONCEPTS = ("knowledge_concepts_list", "list_KCs", "concepts")
_PAIRS = ("mapping_step_kc_gpt-4o", "mapping_step_KC")


class ReadQuestions(NamedTuple):
    """Questions of a file, and what was mended on the way, by reason."""

    questions: Questions
    counts: dict[str, int]


def save_questions(path: str | Path, questions: Questions) -> None:
    """Write questions to a file of one JSON object a line, whole or not at all."""
    lines = [json.dumps(asdict(one), ensure_ascii=False) for one in questions.questions]
    with atomic_write(Path(path)) as staged:
        staged.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def load_questions(path: str | Path) -> ReadQuestions:
    """Return the questions of a file, which may be gzipped.

    `X.jsonl` is what `save_questions` writes: the fields of `Question`, of which `name` and `text` are needed. `X.json`
    is an object of annotated questions by id, as KCQRL and ExRec write them: `content` or `question`, `options`,
    `answer`, lists of steps and of concepts, and pairs "1-2, 3-1" of a step and a concept, from 1; ExRec's nest them
    under `step_by_step_solution_gpt4o` and `kc_mapping_gpt4o`. Left out and counted are empty steps, repeated concepts
    and pairs out of range.

    Raises:
        MissingFileError: the file is not there.
        DataError: it is no such file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingFileError(path.name, path.parent, ADVICE)
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
            content = file.read()
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise DataError(path, "this is no text in UTF-8") from error
    counts: Counter[str] = Counter()
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        rows = [(None, row, line) for row, line in enumerate(content.splitlines(), 1) if line.strip()]
        read = [_question(path, row, None, _parsed(path, line, row), counts) for _, row, line in rows]
    else:
        found = _parsed(path, content, None)
        read = [_question(path, None, name, _object(path, name, value), counts) for name, value in found.items()]
    twice = next((name for name, count in Counter(one.name for one in read).items() if count > 1), None)
    if twice is not None:
        raise DataError(path, f"two questions are named {twice!r}")
    if not read:
        raise DataError(path, "there is no question in it")
    return ReadQuestions(Questions(tuple(read)), {reason: count for reason, count in counts.items() if count})


def _parsed(path: Path, text: str, row: int | None) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line = error.lineno if row is None and isinstance(error, json.JSONDecodeError) else row
        raise DataError(path, "this is no JSON", row=line) from error
    if not isinstance(value, dict):
        raise DataError(path, f"expected a JSON object, got {type(value).__name__}", row=row)
    return value


def _object(path: Path, name: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise DataError(path, f"question {name!r}: expected an object, got {type(value).__name__}")
    return value


def _question(
    path: Path, row: int | None, name: str | None, value: dict[str, object], counts: Counter[str]
) -> Question:
    """Return one question of either format."""
    inner = dict(value)
    for nested in ("step_by_step_solution_gpt4o", "kc_mapping_gpt4o"):
        part = value.get(nested)
        inner.update(part if isinstance(part, dict) else {})
    name = str(value["name"]) if name is None and isinstance(value.get("name"), str | int) else name
    if name is None:
        raise DataError(path, "a question has no name", row=row, column="name")
    text = next((inner[key] for key in ("content", "question", "text") if inner.get(key)), None)
    if not isinstance(text, str) or not text.strip():
        raise DataError(path, f"question {name!r} has no text", row=row, column="text")
    every, listed = (_texts(path, row, name, inner, keys) for keys in (_STEPS, _CONCEPTS))
    steps = [one for one in every if one]
    concepts = list(dict.fromkeys(one for one in listed if one))
    counts["empty steps left out"] += len(every) - len(steps)
    counts["empty or repeated concepts left out"] += len(listed) - len(concepts)
    step_at = {place: sum(bool(one) for one in every[:place]) for place, one in enumerate(every) if one}
    concept_at = {place: concepts.index(one) for place, one in enumerate(listed) if one}
    pairs = _pairs(path, row, name, inner)
    kept = [(step_at[s], concept_at[c]) for s, c in pairs if s in step_at and c in concept_at]
    counts["pairs of no step or no concept left out"] += len(pairs) - len(kept)
    options = inner.get("options")
    chosen = list(options.values()) if isinstance(options, dict) else options if isinstance(options, list) else []
    return Question(
        name=name,
        text=text.strip(),
        options=tuple(str(one).strip() for one in chosen if str(one).strip()),
        answer=_answer(inner.get("answer")),
        steps=tuple(steps),
        concepts=tuple(concepts),
        pairs=tuple(dict.fromkeys(kept)),
    )


def _texts(path: Path, row: int | None, name: str, value: Mapping[str, object], keys: tuple[str, ...]) -> list[str]:
    """Return a list of texts under the first of the keys that is there, stripped."""
    key = next((one for one in keys if value.get(one) is not None), None)
    found = [] if key is None else value[key]
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise DataError(path, f"question {name!r}: {key} is no list of texts", row=row, column=key)
    return [str(one).strip() for one in found]


def _pairs(path: Path, row: int | None, name: str, value: Mapping[str, object]) -> Pairs:
    """Return pairs (step, concept) from 0, of a text "1-2, 3-1" or of a list of pairs from 0."""
    own = value.get("pairs")
    if isinstance(own, list):
        if not all(isinstance(one, list) and len(one) == 2 and all(type(n) is int for n in one) for one in own):
            raise DataError(path, f"question {name!r}: expected pairs of two whole numbers", row=row, column="pairs")
        return tuple((int(step), int(concept)) for step, concept in own)
    key = next((one for one in _PAIRS if value.get(one)), None)
    if key is None:
        return ()
    parts = [part.split("-") for part in str(value[key]).split(",") if part.strip()]
    if not all(len(part) == 2 and all(one.strip().isdecimal() for one in part) for part in parts):
        raise DataError(path, f"question {name!r}: expected pairs such as '1-2, 3-1', got {value[key]!r}", column=key)
    return tuple((int(step) - 1, int(concept) - 1) for step, concept in parts)


def _answer(value: object) -> str:
    """Return the right answer as one text; lists, and lists as text, are joined."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return str(value)
    return ", ".join(str(one) for one in value) if isinstance(value, list) else "" if value is None else str(value)
