"""Scripts of servers: valid answers to each request of an annotation, and faults on top."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from lpr_lightning.annotation import AnswerStore, Asker, Budget, ChatEndpoint, Reply, Request, Retries
from lpr_lightning.questions import Question

KEY = "sk-test-4f9a1c77e02b"
STEPS = {"steps": ["Add the ones: 7 + 5 = 12.", "Carry the ten: 10 + 20 + 2 = 32."]}
CONCEPTS = {
    "concepts": [
        {"reason": "The ones are added first.", "name": "Addition within 20"},
        {"reason": "A ten is carried.", "name": "Place value"},
    ]
}
PAIRS = {"pairs": [[1, 1], [2, 2]]}


def questions(count: int) -> list[Question]:
    """Return so many questions of different words."""
    return [Question(str(number), f"What is {number} + 5?", answer=str(number + 5)) for number in range(count)]


def task(request: Request) -> str:
    """Return which of the three requests this is."""
    system = request.messages[0].content
    return next(name for name in ("steps", "concepts", "pairs") if f'{{"{name}"' in system)


def valid(request: Request) -> Reply:
    """Answer every request well."""
    found = {"steps": STEPS, "concepts": CONCEPTS, "pairs": PAIRS}[task(request)]
    return Reply(json.dumps(found))


def first(*faults: Reply, then: Callable[[Request], Reply] = valid) -> Callable[[Request], Reply]:
    """Give each conversation the faults first, in turn."""
    return lambda request: faults[request.number] if request.number < len(faults) else then(request)


def asker(url: str, store: AnswerStore, budget: Budget | None = None, timeout: float = 5.0, **retries: int) -> Asker:
    """Return one that asks a local server and hardly waits."""
    client = ChatEndpoint("scripted", url, api_key_env=None, timeout=timeout)
    return Asker(client, store, budget, Retries(first=0.01, longest=0.5, **retries), threading.Event())
