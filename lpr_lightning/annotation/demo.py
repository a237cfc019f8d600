"""A script that annotates questions whose steps and concepts are known, with the faults of a busy endpoint."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

from lpr_lightning.annotation.scripted_server import Reply, Request, Script
from lpr_lightning.errors import SettingError
from lpr_lightning.questions import Question

BUSY_EVERY, WRONG_EVERY = 23, 17
"""Of how many requests one is turned away for a moment, and of how many mappings one is out of range at first."""
MODEL = "scripted"
_MORE = (
    "Then do the same once more after a friend has doubled the first number, and compare both results.",
    "Afterwards write a short story in which exactly this calculation is needed.",
    "How would your result change if the last number were half as large? Estimate before you calculate.",
    "Draw a picture of the situation, label what is known, and mark what is wanted.",
)
"""What a new question of the script asks for beyond the old one."""


def script_of(questions: Sequence[Question]) -> Script:
    """Return a script that answers our templates with what the questions themselves say.

    Raises:
        SettingError: a question lacks steps, concepts or pairs, so that there is nothing to answer.
    """
    for one in questions:
        if not (one.steps and one.concepts and one.pairs):
            allowed = "questions whose steps, concepts and pairs are known, as those of SyntheticLearners"
            advice = f"Question {one.name!r} lacks them; --no_demo asks a real endpoint"
            raise SettingError("demo", True, allowed, advice)
    longest_first = sorted(questions, key=lambda one: -len(one.wording))
    count = 0
    lock = threading.Lock()

    def script(request: Request) -> Reply:
        nonlocal count
        with lock:
            count += 1
            number = count
        system, user = (request.messages[place].content for place in (0, 1))
        question = next((one for one in longest_first if one.wording in user), None)
        if number % BUSY_EVERY == 0 and not request.number:
            return Reply("busy", status=429, headers={"Retry-After": "0.2"})
        if question is None:
            return Reply("the scripted server does not know this question", status=400)
        if '{"question"' in system:
            return Reply(json.dumps(_varied(question, user)))
        if '{"steps"' in system:
            return Reply(json.dumps({"steps": question.steps}))
        if '{"concepts"' in system:
            return Reply(
                json.dumps({"concepts": [_reasoned(question, place) for place in range(len(question.concepts))]})
            )
        if '{"pairs"' in system:
            pairs = [[step + 1, concept + 1] for step, concept in question.pairs]
            if number % WRONG_EVERY == 0 and len(request.messages) == 2:
                pairs.append([len(question.steps) + 1, 1])
            return Reply(json.dumps({"pairs": pairs}))
        return Reply("the scripted server answers our own templates only", status=400)

    return script


def _varied(question: Question, user: str) -> dict[str, str]:
    """Return a new question: the old one with something more to do, another for each one that is listed."""
    more = _MORE[sum(one in user for one in _MORE) % len(_MORE)]
    return {"question": f"{question.text} {more}", "answer": "as in the solution", "change": more}


def _reasoned(question: Question, concept: int) -> dict[str, str]:
    step = next(step for step, needed in question.pairs if needed == concept)
    return {"reason": f"Step {step + 1} needs it: {question.steps[step]}", "name": question.concepts[concept]}
