"""GenAL: a language model that first describes the learner, then picks the next concept."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lpr_lightning.annotation.asker import Asker, InvalidAnswerError, Retries, SetAsideError
from lpr_lightning.annotation.budget import Budget, Prices
from lpr_lightning.annotation.chat import Answer, Client, Prompt
from lpr_lightning.annotation.prompt_templates import Templates, numbered
from lpr_lightning.annotation.runner import run_all
from lpr_lightning.annotation.schema import json_object
from lpr_lightning.annotation.store import AnswerStore
from lpr_lightning.draws import Draws
from lpr_lightning.errors import LPRError, checked
from lpr_lightning.hparams import built
from lpr_lightning.policies.candidates import concept_mask
from lpr_lightning.policies.graph import PrerequisiteGraph
from lpr_lightning.policies.simple_rules import least_asked, practicable
from lpr_lightning.protocols import Act, Environment, LearnerData
from lpr_lightning.types import PAD, PathRequest, State

MAX_TOKENS = 512


class _Row(NamedTuple):
    """What is said about one learner: answers at the last profile and since, goal, candidates, steps left."""

    profiled: tuple[tuple[int, bool], ...]
    since: tuple[tuple[int, bool], ...]
    targets: tuple[int, ...]
    candidates: tuple[int, ...]
    left: int


@dataclass(frozen=True)
class GenALSettings:
    """How the agent asks.

    Args:
        records: answers that are shown, the latest.
        every: steps from one profile to the next.
        candidates: concepts to pick from.
        workers: learners asked about at once.
        attempts: how often a request is asked until its answer is valid.

    Raises:
        SettingError: a number below 1.
    """

    records: int = 50
    every: int = 5
    candidates: int = 20
    workers: int = 8
    attempts: int = 3

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            checked(name, value, 1)


class GenAL:
    """A prompting agent: a global agent profiles the learner and reflects, a local one picks from candidates.

    After the published description of GenAL (generative agent for adaptive learning, AAAI 2025), whose prompts and
    code are not at hand; its figures stand on another simulator. Candidates are the goal's concepts, what these build
    on, and concepts answered wrong of late, in this order. Nothing of the simulator is looked into. An answer that is
    never valid makes the first candidate the choice, counted in `counts`. Every answer is kept in `store`, so that the
    same episode asks nothing again.

    Differs from the publication:
      1. Concepts are picked, not exercises; of questions the one on the concept that the path has least often.
      2. The profile is written anew every few steps from the answers, not carried on as free text.

    State: concept and answer of the latest records [B, R], of those at the last profile [B, R], steps since then [B],
    how often the path has each action [B, A], steps left [B].

    Args:
        client: the language model.
        store: file of answers, which this process alone uses.
        settings: how it asks.
        templates: the prompts' words, `profile.txt` and `choice.txt`.
        retries: what is done about failures.
        prices: of a million tokens.
        max_tokens: the most that all episodes may take; None for no limit.
        max_money: the same in money.
        prerequisites: the graph; default that of the data.

    Raises:
        SettingError: a number out of its range, or another process uses the store.
    """

    name = "gen_al"

    def __init__(
        self,
        client: Client,
        store: str,
        settings: GenALSettings | None = None,
        templates: Templates | None = None,
        retries: Retries | None = None,
        prices: Prices | None = None,
        max_tokens: int | None = None,
        max_money: float | None = None,
        prerequisites: PrerequisiteGraph | None = None,
    ) -> None:
        self.settings = built(settings, GenALSettings) or GenALSettings()
        self.templates = built(templates, Templates) or Templates()
        self.prerequisites = built(prerequisites, PrerequisiteGraph) or PrerequisiteGraph()
        self._client, self._path = client, Path(store)
        self._retries, self._prices = built(retries, Retries), built(prices, Prices)
        self._limits = max_tokens, max_money
        Budget(self._prices, *self._limits)
        self._asker: Asker | None = None
        self._opening = threading.Lock()
        self._names: list[str] = []
        self.counts: Counter[str] = Counter()

    def connect(self, data: LearnerData) -> None:
        """Take the concepts' names, and the graph, of the data."""
        self._names = list(data.concept_names)
        self.prerequisites.connect(data)

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Take the latest answers of the histories."""
        history, size = request.history, self.settings.records
        concept = history.concept[..., 0].masked_fill(~history.mask, PAD).long()
        correct = (history.correct >= 0.5) & history.mask
        place = torch.arange(size, device=concept.device) + (history.lengths - size)[:, None]
        there = (place >= 0) & (place < concept.shape[1])
        place = place.clamp(0, max(0, concept.shape[1] - 1))
        if concept.shape[1]:
            concept, correct = concept.gather(1, place).masked_fill(~there, PAD), correct.gather(1, place)
        else:
            concept, correct = torch.full_like(place, PAD), torch.zeros_like(place, dtype=torch.bool)
        asked = torch.zeros(len(request), len(environment.simulator.actions), device=concept.device)
        return concept, correct, concept, correct, torch.zeros_like(request.length), asked, request.length.clone()

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return an action on the concept that the model picks; a path whose steps are done ends.

        Raises:
            LPRError: the budget is spent.
            EndpointError: no request succeeds.
        """
        actions, left = environment.simulator.actions, state[6]
        there = practicable(actions, environment.simulator.num_concepts, concept.device)
        rows = (left > 0).nonzero().flatten().tolist()
        outcome = run_all([self._row(state, one, concept, there) for one in rows], self._picked, self.settings.workers)
        if outcome.stopped:
            raise LPRError(f"{self.name}: {outcome.stopped}")
        chosen = torch.zeros(len(concept), dtype=torch.int64)
        for place, row in enumerate(rows):
            chosen[row] = outcome.results[place]
        action = least_asked(actions, chosen.to(concept.device), state[5])
        return Act(action.masked_fill(left <= 0, PAD))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Take the answers as the latest records; every few steps they become those of a new profile."""
        concept, right, before, before_right, since, asked, left = state
        taken = action != PAD
        about = environment.simulator.actions.at(action.clamp_min(0)).concept[:, 0].long()
        concept = torch.where(taken[:, None], torch.cat([concept[:, 1:], about[:, None]], 1), concept)
        right = torch.where(taken[:, None], torch.cat([right[:, 1:], (correct >= 0.5)[:, None]], 1), right)
        since = since + taken
        due = since >= self.settings.every
        before = torch.where(due[:, None], concept, before)
        before_right = torch.where(due[:, None], right, before_right)
        asked = asked.scatter_add(1, action.clamp_min(0)[:, None], taken[:, None].to(asked))
        return concept, right, before, before_right, since.masked_fill(due, 0), asked, left - taken.long()

    def _row(self, state: State, row: int, concept: Tensor, practicable: Tensor) -> _Row:
        """Return what is said about one learner."""
        size = len(practicable)
        goal = concept[row : row + 1]
        targets = concept_mask(goal, size)[0]
        needed = self.prerequisites.closure(size, concept.device)[targets].any(0)
        now = _records(state[0][row], state[1][row])
        wrong = [one for one, right in reversed(now) if not right]
        listed = [*targets.nonzero().flatten().tolist(), *needed.nonzero().flatten().tolist(), *wrong]
        every = practicable.nonzero().flatten().tolist()
        allowed = [one for one in dict.fromkeys(listed) if bool(practicable[one])] or every
        since = int(state[4][row])
        return _Row(
            _records(state[2][row], state[3][row]),
            now[len(now) - min(since, len(now)) :],
            tuple(targets.nonzero().flatten().tolist()),
            tuple(allowed[: self.settings.candidates]),
            int(state[6][row]),
        )

    def _picked(self, row: _Row) -> int:
        """Return the concept that the model picks; the first candidate where it gives no valid answer."""
        asker, attempts = self._asking(), self.settings.attempts
        targets = numbered(tuple(map(self._called, row.targets)))
        try:
            words = self.templates.fill("profile", {"records": self._said(row.profiled), "targets": targets})
            profile = asker.ask_valid(Prompt(words, MAX_TOKENS), "profile", "profile", _profile, attempts)
            values = {
                "candidates": numbered(tuple(map(self._called, row.candidates))),
                "profile": profile,
                "records": self._said(row.since),
                "targets": targets,
                "left": str(row.left),
            }
            prompt = Prompt(self.templates.fill("choice", values), MAX_TOKENS)
            count = len(row.candidates)
            place = asker.ask_valid(prompt, "choice", "choice", lambda answer: _choice(answer, count), attempts)
        except SetAsideError:
            self.counts["first candidate for want of a valid answer"] += 1
            place = 0
        return row.candidates[place]

    def _asking(self) -> Asker:
        """Return what asks; the store is opened with the first request."""
        with self._opening:
            if self._asker is None:
                store = AnswerStore(self._path)
                self._asker = Asker(
                    self._client, store, Budget(self._prices, *self._limits, store.paid()), self._retries
                )
            return self._asker

    def _said(self, records: tuple[tuple[int, bool], ...]) -> str:
        lines = tuple(f"{self._called(one)}: {'right' if right else 'wrong'}" for one, right in records)
        return numbered(lines) or "none"

    def _called(self, concept: int) -> str:
        return self._names[concept] if concept < len(self._names) else f"concept {concept}"


def _records(concept: Tensor, right: Tensor) -> tuple[tuple[int, bool], ...]:
    """Return the answers [R] of one learner that are there."""
    return tuple((one, bool(answer)) for one, answer in zip(concept.tolist(), right.tolist()) if one != PAD)


def _profile(answer: Answer) -> str:
    value = json_object(answer)
    found = [value.get(name) for name in ("profile", "reflection")]
    if not all(isinstance(one, str) and one.strip() for one in found):
        raise InvalidAnswerError('"profile" and "reflection" must both be texts')
    return " ".join(str(one).strip() for one in found)


def _choice(answer: Answer, count: int) -> int:
    """Return the place of the candidate that is picked, from 0."""
    choice = json_object(answer).get("choice")
    if type(choice) is not int or not 1 <= choice <= count:
        raise InvalidAnswerError(f'"choice" must be a whole number from 1 to {count}')
    return choice - 1
