"""Searching for paths with access to a model of the learners, over many learners at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.policies.candidates import AllActions, Candidates
from lpr_lightning.policies.planned import follow, start_of, went_on
from lpr_lightning.policies.values import ExamValue, SearchValue
from lpr_lightning.protocols import Act, Connected, Environment, LearnerData, Simulator
from lpr_lightning.simulators.actions import ConceptActions
from lpr_lightning.tensors import listed
from lpr_lightning.types import PAD, PathRequest, State, select_rows

Expectation = Literal["likeliest", "expected"]


class FoundPaths(NamedTuple):
    """The best paths found for each learner, best first.

    `path` [B, top, L] int64, -1 after its end; `effect` [B, top], the learning effect that the search saw. Where fewer
    than `top` distinct paths exist, the last ones are empty with an effect of minus infinity.
    """

    path: Tensor
    effect: Tensor


@dataclass(frozen=True)
class Learners:
    """Learners about to start paths of one `length`: their states, goal's concepts [B, M], exam scores, rows [B].

    `candidate` [B, C] int64: the actions that may be taken, -1 behind the last.
    """

    state: State
    concept: Tensor
    before: Tensor
    row: Tensor
    length: int
    candidate: Tensor

    def __len__(self) -> int:
        return self.concept.shape[0]


@dataclass(frozen=True, kw_only=True)
class Search(ABC):
    """Base class of searches: reads every history once, then searches a bounded number of learners at a time.

    Paths have exactly the wanted length of their request.

    Args:
        value: what is maximised on the way and at the end.
        candidates: which actions are tried; chosen once, when the search begins.
        answers: answers on the way: `likeliest` as the simulator responds, where it draws them the likeliest;
            `expected`: the probability of success itself, as a soft answer.
        max_rows: states held at once; bounds memory and changes no path.
        replan: search anew after each answer that the learner gave, for what is left of the path; otherwise the path
            that was found at the beginning is followed to its end.

    Raises:
        SettingError: `max_rows` is below 1, or `answers` is unknown.
    """

    value: SearchValue = field(default_factory=ExamValue)
    candidates: Candidates = field(default_factory=AllActions)
    answers: Expectation = "likeliest"
    max_rows: int = 4096
    replan: bool = False

    name = "search"

    def __post_init__(self) -> None:
        if self.max_rows < 1:
            raise SettingError("max_rows", self.max_rows, "a whole number above 0", "4096 suits a CPU")
        if self.answers not in get_args(Expectation):
            raise SettingError("answers", self.answers, "likeliest or expected")

    def connect(self, data: LearnerData) -> None:
        """Let value and candidates take from the data what they need."""
        for part in (self.value, self.candidates):
            if isinstance(part, Connected):
                part.connect(data)

    @abstractmethod
    def find(self, environment: Environment, learners: Learners, top: int) -> FoundPaths:
        """Return up to `top` distinct paths of each learner, best first."""

    @abstractmethod
    def rows_per_learner(self, num_candidates: int) -> int:
        """Return how many states one learner takes while being searched for, given how many actions may be taken."""

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the paths found, or the states to search from."""
        if not self.replan:
            return start_of(self.search(environment, request).path[:, 0])
        return request.length, request.row, *environment.simulator.start(request)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the next step of the path, or the first step of a new one."""
        if not self.replan:
            return follow(state)
        path = self.paths(environment, state[2:], concept, state[0], state[1], 1).path[:, 0]
        return Act(path[:, 0] if path.shape[1] else torch.full_like(state[0], PAD))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Go on by one step; where the path is searched anew, let the model observe the answers."""
        if not self.replan:
            return went_on(state)
        simulator = environment.simulator
        after = simulator.observe(state[2:], simulator.actions.at(action), correct)
        return (state[0] - 1).clamp_min(0), state[1], *after

    @torch.no_grad()
    def search(self, environment: Environment, request: PathRequest, top: int = 1) -> FoundPaths:
        """Return the `top` best distinct paths for each request."""
        state = environment.simulator.start(request)
        concept = environment.goal.choose(environment.simulator, state, request)
        return self.paths(environment, state, concept, request.length, request.row, top)

    @torch.no_grad()
    def paths(
        self, environment: Environment, state: State, concept: Tensor, length: Tensor, row: Tensor, top: int
    ) -> FoundPaths:
        """Return the `top` best distinct paths of `length` [B] from states onwards, for the concepts [B, M]."""
        if top < 1:
            raise SettingError("top", top, "a whole number above 0")
        lengths = sorted(set(length.tolist()))
        path = length.new_full((len(length), top, max(lengths, default=0)), PAD)
        effect = torch.full((len(length), top), -torch.inf, device=path.device)
        if not len(length):
            return FoundPaths(path, effect)
        before = environment.goal.assess(environment.simulator, state, concept).score
        candidate = listed(self.candidates.allowed(environment, state, concept))
        chunk = max(1, self.max_rows // self.rows_per_learner(candidate.shape[1]))
        for steps in lengths:
            if steps < 1:
                effect[length == steps, 0] = 0.0
                continue
            for rows in (length == steps).nonzero().squeeze(1).split(chunk):
                widest = int((candidate[rows] >= 0).sum(1).max())
                learners = Learners(
                    select_rows(state, rows), concept[rows], before[rows], row[rows], steps, candidate[rows, :widest]
                )
                found = self.find(environment, learners, top)
                path[rows, : found.path.shape[1], :steps] = found.path
                effect[rows, : found.path.shape[1]] = found.effect
        return FoundPaths(path, effect)


def success(simulator: Simulator, state: State) -> Tensor:
    """Return the probability of success of every action, [B, A]."""
    if isinstance(simulator.actions, ConceptActions):
        return simulator.mastery(state)
    every = torch.arange(len(simulator.actions), device=state[0].device).expand(len(state[0]), -1)
    return simulator.predict(state, simulator.actions.at(every))


def step(simulator: Simulator, state: State, action: Tensor, answers: Expectation = "likeliest") -> State:
    """Return the states after expected or likeliest answers to actions, [B], or [B, A] for B * A states."""
    asked = simulator.actions.at(action)
    probability = simulator.predict(state, asked)
    return simulator.practise(
        state, asked, probability if answers == "expected" else simulator.respond(probability, None)
    )
