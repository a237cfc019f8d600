"""What flows through the house: answer logs in, requests for paths, roll-outs out; and the protocols between rooms.

Axes: B learners or rows, T history steps, L path steps, C concepts of one answer, N concepts, K paths of one group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

PAD = -1
"""Fills unused places of every concept, item and path tensor."""

Split = Literal["train", "val", "test"]
TracerState = tuple[Tensor, ...]
"""A learner's state as tensors whose first axis is the learner, so that it can be indexed, repeated and stacked."""


class _Tensors:
    """Moves and indexes every tensor of a dataclass alike."""

    def _map(self, function: Any) -> Self:
        changes = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor | _Tensors):
                changes[field.name] = function(value)
        return replace(self, **changes)  # type: ignore[type-var]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return a copy on `device`."""
        return self._map(lambda value: value.to(device, non_blocking=non_blocking))

    def select(self, index: Tensor) -> Self:
        """Return the rows at `index` (a tensor of positions or a mask over the first axis)."""
        return self._map(lambda value: value.select(index) if isinstance(value, _Tensors) else value[index])

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of several objects one after another; their tensors must be alike but for the first axis."""
        values = {field.name: [getattr(part, field.name) for part in parts] for field in fields(cls)}  # type: ignore[arg-type]
        joined: dict[str, Any] = {}
        for name, several in values.items():
            if isinstance(several[0], Tensor):
                joined[name] = torch.cat(several)
            elif isinstance(several[0], _Tensors):
                joined[name] = type(several[0]).join(several)
        return replace(parts[0], **joined)  # type: ignore[type-var]

    def repeat(self, count: int) -> Self:
        """Return every row `count` times, copies side by side."""
        return self._map(
            lambda value: value.repeat(count) if isinstance(value, _Tensors) else value.repeat_interleave(count, 0)
        )


@dataclass(frozen=True)
class InteractionBatch(_Tensors):
    """Answer histories side by side, padded on the right.

    `concept` [B, T, C] int64 (-1 where unused), `item` [B, T] int64, `correct` [B, T] float32 in [0, 1],
    `mask` [B, T] bool (True on real answers), `learner` [B] int64.
    """

    concept: Tensor
    item: Tensor
    correct: Tensor
    mask: Tensor
    learner: Tensor

    def __len__(self) -> int:
        return self.learner.shape[0]

    @property
    def lengths(self) -> Tensor:
        """Number of real answers of each row, [B] int64."""
        return self.mask.sum(1)

    @classmethod
    def empty(cls, batch_size: int, device: torch.device | str = "cpu") -> Self:
        """Return histories without any answer.

        >>> InteractionBatch.empty(2).concept.shape
        torch.Size([2, 0, 1])
        """
        return cls(
            concept=torch.empty(batch_size, 0, 1, dtype=torch.int64, device=device),
            item=torch.empty(batch_size, 0, dtype=torch.int64, device=device),
            correct=torch.empty(batch_size, 0, device=device),
            mask=torch.empty(batch_size, 0, dtype=torch.bool, device=device),
            learner=torch.full((batch_size,), PAD, dtype=torch.int64, device=device),
        )


@dataclass(frozen=True)
class Answers(_Tensors):
    """Predicted answers beside the real ones, one row each: what a tracer's evaluation steps return as "answers".

    `probability` [R] float32 of success, before the answer was seen; `correct` [R] float32; `concept` [R, C] int64,
    -1 where unused; `item` [R] int64; `learner` [R] int64.
    """

    probability: Tensor
    correct: Tensor
    concept: Tensor
    item: Tensor
    learner: Tensor

    def __len__(self) -> int:
        return self.learner.shape[0]


@dataclass(frozen=True)
class Interactions(_Tensors):
    """Answer logs of many learners, one after another, each in chronological order.

    `offsets` [B + 1] int64: rows of learner b are `offsets[b]:offsets[b + 1]`; `learner` [B] int64: the learner's
    number in the whole data set; `item` [R] int32; `concept` [R, C] int32, -1 where unused, real ones first;
    `correct` [R] uint8, 0 or 1; `time` [R] int64 in milliseconds, or None where the log has none.

    >>> log = Interactions.from_lists([[(0, 1), (1, 0)], [(1, 1)]])
    >>> log.num_learners, len(log)
    (2, 3)
    >>> log.batch(torch.tensor([1, 0])).concept.squeeze(-1)
    tensor([[ 1, -1],
            [ 0,  1]])
    """

    offsets: Tensor
    learner: Tensor
    item: Tensor
    concept: Tensor
    correct: Tensor
    time: Tensor | None = None

    def __len__(self) -> int:
        return self.item.shape[0]

    @property
    def num_learners(self) -> int:
        """Number of learners."""
        return self.learner.shape[0]

    @property
    def lengths(self) -> Tensor:
        """Number of answers of each learner, [B] int64."""
        return self.offsets[1:] - self.offsets[:-1]

    @classmethod
    def from_lists(cls, histories: list[list[tuple[int, int]]]) -> Self:
        """Build a log from one list of (concept, correct) for each learner; the item is the concept."""
        concept = torch.tensor([c for history in histories for c, _ in history], dtype=torch.int32)
        correct = torch.tensor([y for history in histories for _, y in history], dtype=torch.uint8)
        sizes = torch.tensor([0] + [len(history) for history in histories])
        return cls(sizes.cumsum(0), torch.arange(len(histories)), concept, concept[:, None], correct)

    def select(self, index: Tensor) -> Self:
        """Return the log of the learners at `index` (positions, or a mask over learners)."""
        index = index.nonzero().squeeze(1) if index.dtype == torch.bool else index
        lengths = self.lengths[index]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        rows = torch.arange(int(offsets[-1]), device=offsets.device)
        rows = rows + (self.offsets[index] - offsets[:-1]).repeat_interleave(lengths)
        time = None if self.time is None else self.time[rows]
        return replace(
            self,
            offsets=offsets,
            learner=self.learner[index],
            item=self.item[rows],
            concept=self.concept[rows],
            correct=self.correct[rows],
            time=time,
        )

    def batch(self, index: Tensor, start: Tensor | None = None, stop: Tensor | None = None) -> InteractionBatch:
        """Return the histories of learners `index` [B], each cut to its steps `start:stop` ([B] int64), padded."""
        first = self.offsets[index]
        length = self.lengths[index]
        start = torch.zeros_like(length) if start is None else start
        stop = length if stop is None else stop.minimum(length)
        length = (stop - start).clamp_min(0)
        steps = torch.arange(int(length.max()) if len(length) else 0, device=first.device)
        mask = steps < length[:, None]
        rows = torch.where(mask, (first + start)[:, None] + steps, 0)
        return InteractionBatch(
            concept=torch.where(mask[..., None], self.concept[rows].long(), PAD),
            item=torch.where(mask, self.item[rows].long(), PAD),
            correct=torch.where(mask, self.correct[rows].float(), 0.0),
            mask=mask,
            learner=self.learner[index],
        )


@dataclass(frozen=True)
class PathRequest(_Tensors):
    """What a learner asks for: a path of `length` [B] int64 concepts towards `targets` [B, N] bool, given a `history`.

    `learner` [B] int64 is the learner's number in the data set (-1 for strangers); `row` [B] int64 is the request's
    position among the requests of its split (-1 outside any), so that demonstrations can be found again.
    """

    history: InteractionBatch
    targets: Tensor
    length: Tensor
    learner: Tensor
    row: Tensor

    def __len__(self) -> int:
        return self.length.shape[0]


@dataclass(frozen=True)
class Rollout(_Tensors):
    """What happened when learners followed paths; the only currency between simulators, objectives and pictures.

    `path` [B, L] int64 concepts, -1 after its end; `response` [B, L] float32, the learner's answers; `predicted`
    [B, L] float32, success probability just before each answer; `score_before`, `score_after`, `score_max` [B]: exam
    scores E_s, E_e, E_sup; `mastery_before`, `mastery_after` [B, N] in [0, 1]; `targets` [B, N] bool;
    `wanted_length` [B] int64; `learner` [B] int64. Rows of one prompt stand side by side, `group_size` at a time.
    """

    path: Tensor
    response: Tensor
    predicted: Tensor
    score_before: Tensor
    score_after: Tensor
    score_max: Tensor
    mastery_before: Tensor
    mastery_after: Tensor
    targets: Tensor
    wanted_length: Tensor
    learner: Tensor
    group_size: int = 1

    def __len__(self) -> int:
        return self.path.shape[0]

    @property
    def mask(self) -> Tensor:
        """True on the steps that belong to the path, [B, L] bool."""
        return self.path != PAD

    @property
    def length(self) -> Tensor:
        """Number of steps of each path, [B] int64."""
        return self.mask.sum(1)


@runtime_checkable
class KnowledgeTracer(Protocol):
    """A model that follows a learner's knowledge; every call is batched and costs O(1) per step.

    Concept arguments hold -1 where unused, either [B] (one concept an answer) or [B, C] (several).
    """

    num_concepts: int

    def initial_state(self, batch_size: int) -> TracerState:
        """Return the state of learners without history."""
        ...

    def encode(self, history: InteractionBatch) -> TracerState:
        """Return the state after whole histories; padding changes nothing."""
        ...

    def observe(self, state: TracerState, concept: Tensor, correct: Tensor) -> TracerState:
        """Return the state after one answer each; `correct` [B] in [0, 1] (soft answers allowed)."""
        ...

    def predict(self, state: TracerState, concept: Tensor) -> Tensor:
        """Return the success probability [B] of an answer to `concept`."""
        ...

    def mastery(self, state: TracerState) -> Tensor:
        """Return the success probability of every concept, [B, N]."""
        ...


@runtime_checkable
class QuestionTracer(KnowledgeTracer, Protocol):
    """A knowledge tracer that also tells the questions of a concept apart; item numbers are those of the data."""

    num_items: int

    def observe_item(self, state: TracerState, item: Tensor, correct: Tensor) -> TracerState:
        """Return the state after one answer each to `item` [B]; `correct` [B] in [0, 1]."""
        ...

    def predict_item(self, state: TracerState, item: Tensor) -> Tensor:
        """Return the success probability [B] of an answer to `item` [B]."""
        ...


SimulatorState = TracerState


@runtime_checkable
class Simulator(Protocol):
    """Learners that answer: states are passed in and returned, never kept, so that any state can be branched."""

    num_concepts: int

    def start(self, request: PathRequest) -> SimulatorState:
        """Return the learners' states after their histories."""
        ...

    def step(self, state: SimulatorState, concept: Tensor) -> tuple[SimulatorState, Tensor, Tensor]:
        """Let each learner answer `concept` [B]; return the new state, the answer [B], the probability before it [B].

        Rows whose concept is -1 stay as they are and answer 0.
        """
        ...

    def exam(self, state: SimulatorState, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the exam score on `targets` [B, N] and the best possible one, both [B]; the state is not touched."""
        ...

    def mastery(self, state: SimulatorState) -> Tensor:
        """Return the learners' mastery of every concept, [B, N] in [0, 1]."""
        ...

    def seed(self, seed: int) -> None:
        """Restart the simulator's own random numbers."""
        ...


@runtime_checkable
class PathPolicy(Protocol):
    """Anything that recommends paths."""

    name: str

    def plan(self, request: PathRequest, simulator: Simulator) -> Tensor:
        """Return one path for each request, [B, L] int64, -1 after its end."""
        ...


class Examples(Protocol):
    """Training or evaluation examples of one split, from which batches are drawn by index."""

    @property
    def sizes(self) -> Tensor:
        """The length of each example, by which batches are bucketed, [E] int64."""
        ...

    def batch(self, index: Tensor) -> Any:
        """Return the batch of the examples at `index` [B]."""
        ...


class Task(Protocol):
    """Turns answer logs into examples: next-answer sequences, requests for paths, …"""

    def examples(self, log: Interactions, split: Split, num_concepts: int, seed: int) -> Examples:
        """Return the examples of `split`; `log` holds that split's learners only."""
        ...


@runtime_checkable
class LearnerData(Protocol):
    """What modules and callbacks may ask of a datamodule."""

    num_concepts: int
    num_items: int
    task: Task

    @property
    def concept_names(self) -> list[str]:
        """Readable names, one for each concept number."""
        ...

    @property
    def item_names(self) -> list[str]:
        """Raw names, one for each item number: the ids that files of question vectors use."""
        ...

    @property
    def item_concepts(self) -> Tensor:
        """Concepts of each item, [Q, C] int64, -1 where unused."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the source files and of every option that changes the data."""
        ...

    @property
    def truth(self) -> Simulator | None:
        """The learners themselves where they are of known truth (synthetic), else None."""
        ...

    def interactions(self, split: Split) -> Interactions:
        """Return the answer logs of one split's learners (after `setup`)."""
        ...

    def batches(self, split: Split, task: Task, batch_size: int, shuffle: bool, across_ranks: bool = True) -> Batches:
        """Return a loader over `task`'s examples of one split; `across_ranks=False` gives every rank all of them."""
        ...


class Batches(Protocol):
    """A loader: batches drawn by index from resident tensors."""

    @property
    def examples(self) -> Examples:
        """What the batches are drawn from."""
        ...

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...
