"""The data that flows: answer logs in, requests for paths, rollouts out.

Axes: B learners or rows, T history steps, L path steps, A candidates, C concepts of one answer, N concepts, K paths of
one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from lpr_lightning.tensors import PAD as PAD
from lpr_lightning.tensors import State as State
from lpr_lightning.tensors import TensorData as TensorData
from lpr_lightning.tensors import keep_rows as keep_rows
from lpr_lightning.tensors import repeat_rows as repeat_rows
from lpr_lightning.tensors import select_rows as select_rows

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Exercise(TensorData):
    """What is asked: concepts at large, a question, or a vector in the questions' space.

    `concept` [..., C] int64, -1 where unused; `item` [...] int64, -1 for concepts at large; `vector` [..., D] or None,
    which stands in place of the question's own. The leading axes are [B], one exercise for each learner, or [B, A], A
    candidates each. A question that a model does not know is asked by its concepts. Where nothing is asked (no
    concept, item -1, no vector) a simulator leaves the learner as it is.

    >>> Exercise.of_concepts(torch.tensor([[3, 1]])).shape
    torch.Size([1, 2])
    """

    concept: Tensor
    item: Tensor
    vector: Tensor | None = None

    @classmethod
    def of_concepts(cls, concept: Tensor) -> Self:
        """Return exercises on one concept each, [...] int64."""
        return cls(concept[..., None], torch.full_like(concept, PAD))

    @property
    def shape(self) -> torch.Size:
        """The leading axes."""
        return self.item.shape

    @property
    def asked(self) -> Tensor:
        """True where something is asked, [...] bool."""
        if self.vector is not None:
            return torch.ones_like(self.item, dtype=torch.bool)
        return (self.item >= 0) | (self.concept >= 0).any(-1)

    def candidates(self) -> Self:
        """Return the exercises with a candidate axis, [B, A]: one candidate each where there was none."""
        return self if self.item.dim() > 1 else self._map(lambda value: value[:, None])

    def flat(self) -> Self:
        """Return candidates as rows of their own, [B * A]."""
        return self._map(lambda value: value.flatten(0, 1)) if self.item.dim() > 1 else self


@dataclass(frozen=True)
class InteractionBatch(TensorData):
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

    def asked(self, step: int) -> Exercise:
        """Return what was asked at one step, [B]."""
        return Exercise(self.concept[:, step], self.item[:, step])

    def first(self, count: Tensor) -> Self:
        """Return the first `count` [B] answers of each history; nothing of what follows is left in it.

        >>> log = Interactions.from_lists([[(0, 1), (1, 0)], [(1, 1)]])
        >>> log.batch(torch.arange(2)).first(torch.tensor([1, 1])).concept.squeeze(-1)
        tensor([[0],
                [1]])
        """
        longest = int(count.max()) if len(count) else 0
        mask = self.mask[:, :longest] & (torch.arange(longest, device=count.device) < count[:, None])
        return replace(
            self,
            concept=torch.where(mask[..., None], self.concept[:, :longest], PAD),
            item=torch.where(mask, self.item[:, :longest], PAD),
            correct=torch.where(mask, self.correct[:, :longest], 0.0),
            mask=mask,
        )

    def padded(self, steps: int, width: int) -> Self:
        """Return the histories padded to so many steps and so many concepts an answer, at least those that they have.

        >>> log = Interactions.from_lists([[(0, 1)]])
        >>> log.batch(torch.arange(1)).padded(2, 1).concept.squeeze(-1)
        tensor([[ 0, -1]])
        """
        more, wider = steps - self.concept.shape[1], width - self.concept.shape[2]
        pad = torch.nn.functional.pad
        return replace(
            self,
            concept=pad(self.concept, (0, wider, 0, more), value=PAD),
            item=pad(self.item, (0, more), value=PAD),
            correct=pad(self.correct, (0, more)),
            mask=pad(self.mask, (0, more)),
        )

    def then(self, later: InteractionBatch) -> Self:
        """Return the histories with the answers of `later` behind their last ones.

        >>> log = Interactions.from_lists([[(0, 1), (1, 0)], [(2, 1)]])
        >>> both = log.batch(torch.arange(2)).then(log.batch(torch.tensor([1, 1])))
        >>> both.concept.squeeze(-1), both.lengths
        (tensor([[ 0,  1,  2],
                [ 2,  2, -1]]), tensor([3, 2]))
        """
        width = max(self.concept.shape[2], later.concept.shape[2])
        parts = [
            torch.nn.functional.pad(one.concept, (0, width - one.concept.shape[2]), value=PAD) for one in (self, later)
        ]
        mask = torch.cat([self.mask, later.mask], 1)
        longest = int(mask.sum(1).max()) if len(mask) else 0
        place = (~mask).to(torch.int8).argsort(dim=1, stable=True)[:, :longest]
        mask = mask.gather(1, place)
        concept = torch.cat(parts, 1).gather(1, place[..., None].expand(-1, -1, width))
        item, correct = (
            torch.cat(pair, 1).gather(1, place) for pair in ((self.item, later.item), (self.correct, later.correct))
        )
        return replace(
            self,
            concept=concept.masked_fill(~mask[..., None], PAD),
            item=item.masked_fill(~mask, PAD),
            correct=correct.masked_fill(~mask, 0.0),
            mask=mask,
        )

    @classmethod
    def empty(cls, batch_size: int, device: torch.device | str = "cpu", learner: Tensor | None = None) -> Self:
        """Return histories without any answer, of unseen learners where none are given.

        >>> InteractionBatch.empty(2).concept.shape
        torch.Size([2, 0, 1])
        """
        return cls(
            concept=torch.empty(batch_size, 0, 1, dtype=torch.int64, device=device),
            item=torch.empty(batch_size, 0, dtype=torch.int64, device=device),
            correct=torch.empty(batch_size, 0, device=device),
            mask=torch.empty(batch_size, 0, dtype=torch.bool, device=device),
            learner=torch.full((batch_size,), PAD, device=device) if learner is None else learner,
        )


@dataclass(frozen=True)
class Answers(TensorData):
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
class Interactions(TensorData):
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

    @property
    def owner(self) -> Tensor:
        """Place of each answer's learner in the log, [A] int64.

        >>> Interactions.from_lists([[(0, 1)], [], [(1, 0), (2, 1)]]).owner
        tensor([0, 2, 2])
        """
        return torch.arange(self.num_learners, device=self.offsets.device).repeat_interleave(self.lengths)

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
class PathRequest(TensorData):
    """What a learner asks for: a path of `length` [B] int64 concepts towards `targets` [B, N] bool, given a `history`.

    `learner` [B] int64 is the number in the data set (-1 for unseen learners); `row` [B] int64 is the request's
    position among the requests of its split (-1 outside any), so that demonstrations can be found again. `asked`
    [B, A], where there is any: what a tracer is to predict besides, nothing where unused.
    """

    history: InteractionBatch
    targets: Tensor
    length: Tensor
    learner: Tensor
    row: Tensor
    asked: Exercise | None = None

    def __len__(self) -> int:
        return self.length.shape[0]


@dataclass(frozen=True)
class Rollout(TensorData):
    """What happened when learners followed paths; all that passes between simulators, objectives and pictures.

    `session`: what was asked and answered, [B, L], a log again (answers may be soft). `action` [B, L] int64: number of
    the concept or question among the simulator's actions, -1 after the path's end. `predicted` [B, L]: success
    probability just before each answer. `gain` [B, L]: what each step brought in mean mastery of the goal's concepts.
    `score_before`, `score_after`, `score_max` [B]: exam scores E_s, E_e, E_sup. `mastery_before`, `mastery_after`
    [B, N] in [0, 1], or [B, 0] where they were not asked for. `targets` [B, N] bool: the goal's concepts; of a goal
    that is chosen anew at each step, all of them. `wanted_length` [B] int64. `stopped` [B] bool: the episode ended
    early, every target being mastered. Rows of one request stand side by side, `group_size` at a time. `log_prob`
    [B, L]: of a policy that samples, else None.

    An episode that was kept for learning from it also has `passed` [B, L], what each step brought in exam score;
    `states`, the policy's own states before each step and after the last, tensors [B, L + 1, ...]; `goals`
    [B, L + 1, N] bool, the concepts that counted then; and `vector` [B, L, D] of a policy that acts in the questions'
    space. `join` leaves these out.
    """

    session: InteractionBatch
    action: Tensor
    predicted: Tensor
    gain: Tensor
    score_before: Tensor
    score_after: Tensor
    score_max: Tensor
    mastery_before: Tensor
    mastery_after: Tensor
    targets: Tensor
    wanted_length: Tensor
    stopped: Tensor
    group_size: int = 1
    log_prob: Tensor | None = None
    passed: Tensor | None = None
    states: State | None = None
    goals: Tensor | None = None
    vector: Tensor | None = None

    def __len__(self) -> int:
        return self.action.shape[0]

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of several rollouts one after another, the shorter ones padded."""
        longest = max(part.action.shape[1] for part in parts)
        parts = [replace(part, passed=None, states=None, goals=None, vector=None) for part in parts]
        return super().join([part._longer(longest - part.action.shape[1]) for part in parts])

    def _longer(self, steps: int) -> Self:
        if not steps:
            return self
        session, pad = self.session, torch.nn.functional.pad
        return replace(
            self,
            session=replace(
                session,
                concept=pad(session.concept, (0, 0, 0, steps), value=PAD),
                item=pad(session.item, (0, steps), value=PAD),
                correct=pad(session.correct, (0, steps)),
                mask=pad(session.mask, (0, steps)),
            ),
            action=pad(self.action, (0, steps), value=PAD),
            predicted=pad(self.predicted, (0, steps)),
            gain=pad(self.gain, (0, steps)),
            log_prob=None if self.log_prob is None else pad(self.log_prob, (0, steps)),
        )

    @property
    def concept(self) -> Tensor:
        """Concepts of each step, [B, L, C] int64, -1 where unused."""
        return self.session.concept

    @property
    def response(self) -> Tensor:
        """The learners' answers, [B, L] float32."""
        return self.session.correct

    @property
    def learner(self) -> Tensor:
        """Number of each learner in the data set, [B] int64; -1 for unseen learners."""
        return self.session.learner

    @property
    def mask(self) -> Tensor:
        """True on the steps that belong to the path, [B, L] bool."""
        return self.session.mask

    @property
    def length(self) -> Tensor:
        """Number of steps of each path, [B] int64."""
        return self.mask.sum(1)
