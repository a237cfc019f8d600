"""Requests for learning paths, cut out of real learners' logs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked, checked_or_none
from lpr_lightning.protocols import Examples
from lpr_lightning.tasks.cut_requests import CutRequests, answers_until, count_concepts
from lpr_lightning.types import PAD, Interactions, PathRequest, Split

DRAWS = 8
"""Times that an end point is drawn again before a training learner's further request is given up."""
ROUNDING = 1e-9
"""Leaves shares of whole numbers whole: .29 of 100 answers is 29, not 28.99…."""


@dataclass(frozen=True)
class PathRequests:
    """Takes the front of a learner's log as the history and the concepts at its end as the targets.

    The protocol of GEHRL, DLPR and IB-GRPO: in a log of n answers the first floor(`prefix` n) are the history, the
    distinct concepts of answers i >= (1 - `target_tail`) n are the targets, and what lies between is left out.
    A log is eligible if it has at least `min_distinct` distinct concepts and at least `min_targets` targets. Every
    concept of an answer counts.

    Differs from the published protocol:
        1. Learners come from their own split, each once, instead of one pool drawn from again and again.
        2. The redraw of learners who master all targets already is left to the simulator, which alone knows.
        3. `train_cuts` > 1 adds requests of training learners: each treats a random eligible front part of the log
           as the whole. Validation and test always use whole logs.

    Args:
        length: wanted path length.
        lengths: lengths to draw from for training requests, instead of `length`.
        prefix: share of the log that is the history.
        target_tail: share of the log whose concepts are the targets.
        min_distinct: fewest distinct concepts of an eligible log.
        min_targets: fewest targets of an eligible log.
        max_targets: of more targets, those met first in the tail are taken.
        max_history: of a longer history, the last answers are taken.
        train_cuts: requests from each training learner; the first is the whole log.
        max_requests: of more requests, a seeded random choice is taken.

    >>> log = Interactions.from_lists([[(c % 4, 1) for c in range(10)], [(0, 1), (1, 1)]])
    >>> request = PathRequests(min_distinct=4).examples(log, "test", 4, seed=0).batch(torch.tensor([0]))
    >>> request.history.concept.squeeze(-1)
    tensor([[0, 1, 2, 3, 0, 1]])
    >>> request.targets
    tensor([[ True,  True, False, False]])

    Raises:
        SettingError: an argument is out of its range.
    """

    length: int = 10
    lengths: list[int] | None = None
    prefix: float = 0.6
    target_tail: float = 0.2
    min_distinct: int = 7
    min_targets: int = 2
    max_targets: int | None = None
    max_history: int | None = None
    train_cuts: int = 1
    max_requests: int | None = None

    def __post_init__(self) -> None:
        least = {"length": self.length, "min_distinct": self.min_distinct}
        for name, value in (least | {"min_targets": self.min_targets, "train_cuts": self.train_cuts}).items():
            checked(name, value, 1)
        most = {"max_targets": self.max_targets, "max_history": self.max_history, "max_requests": self.max_requests}
        for name, limit in most.items():
            checked_or_none(name, limit, 1)
        if self.lengths is not None and (not self.lengths or min(self.lengths) < 1):
            raise SettingError("lengths", self.lengths, "a list of path lengths of at least 1, or null")
        if not 0 < self.prefix < 1:
            raise SettingError("prefix", self.prefix, "a share of the log between 0 and 1")
        if not 0 < self.target_tail <= 1 - self.prefix + 1e-9:
            raise SettingError(
                "target_tail",
                self.target_tail,
                "a share above 0 and at most 1 - prefix",
                "the targets lie behind the history",
            )
        if self.max_targets is not None and self.max_targets < self.min_targets:
            raise SettingError("max_targets", self.max_targets, f"at least min_targets={self.min_targets}")

    def examples(self, log: Interactions, split: Split, num_concepts: int, seed: int) -> Examples:
        """Return the requests of one split; the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        least = answers_until(log, num_concepts, self.min_distinct)
        learner = (log.lengths >= least).nonzero().squeeze(1)
        least, stop = least[learner], log.lengths[learner]
        enough = self._has_targets(log, num_concepts, learner, stop)
        cuts = [(learner[enough], stop[enough])]
        for _ in range(1, self.train_cuts if split == "train" else 1):
            cuts.append(self._random_cut(log, num_concepts, learner, least, generator))
        learner, stop = torch.cat([one for one, _ in cuts]), torch.cat([one for _, one in cuts])
        if self.max_requests is not None and len(learner) > self.max_requests:
            chosen = torch.randperm(len(learner), generator=generator)[: self.max_requests].sort().values
            learner, stop = learner[chosen.to(learner.device)], stop[chosen.to(stop.device)]
        length = torch.full_like(stop, self.length)
        if split == "train" and self.lengths is not None:
            drawn = torch.randint(len(self.lengths), (len(stop),), generator=generator)
            length = torch.tensor(self.lengths)[drawn].to(stop.device)
        history = (stop.double() * self.prefix + ROUNDING).floor().long()
        start = torch.zeros_like(stop) if self.max_history is None else (history - self.max_history).clamp_min(0)
        tail = self._tail(stop)
        return CutRequests(log, num_concepts, learner, start, history, tail, stop, length, self.max_targets)

    def _tail(self, stop: Tensor) -> Tensor:
        return (stop.double() * (1 - self.target_tail) - ROUNDING).ceil().long()

    def _has_targets(self, log: Interactions, num_concepts: int, learner: Tensor, stop: Tensor) -> Tensor:
        return count_concepts(log, num_concepts, learner, self._tail(stop), stop) >= self.min_targets

    def _random_cut(
        self, log: Interactions, num_concepts: int, learner: Tensor, least: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return learners and ends of eligible front parts of at least `least` answers, never whole logs."""
        ends = log.lengths[learner] - least
        found = torch.zeros_like(least)
        for _ in range(DRAWS):
            share = torch.rand(len(learner), generator=generator, dtype=torch.float64).to(learner.device)
            pending = ((found == 0) & (ends > 0)).nonzero().squeeze(1)
            stop = (least + (share * ends).long())[pending]
            found[pending] = torch.where(self._has_targets(log, num_concepts, learner[pending], stop), stop, 0)
        return learner[found > 0], found[found > 0]


def vary_requests(request: PathRequest, share: float, pool: Tensor, draws: Draws) -> PathRequest:
    """Return the requests, a `share` of them with the history cut at a random place and another learner's targets.

    A cut history has between none and all of its answers left; targets come from a random row of `pool` [E, N] bool.
    `draws` are those of the requests. `row` becomes -1 where a request was changed.

    >>> from lpr_lightning.types import InteractionBatch
    >>> rows = torch.arange(2)
    >>> right = torch.ones(2, 3)
    >>> history = InteractionBatch(right[..., None].long(), right.long(), right, right.bool(), rows)
    >>> request = PathRequest(history, torch.eye(2).bool(), torch.tensor([5, 5]), rows, rows)
    >>> vary_requests(request, 1.0, request.targets, Draws.of(0, 0, rows)).row
    tensor([-1, -1])
    """
    changed = draws.at(0).uniform() < share
    other = draws.at(1).integers(len(pool))
    lengths = request.history.lengths
    answers = torch.where(changed, draws.at(2).integers(lengths + 1), lengths)
    return replace(
        request,
        history=request.history.first(answers),
        targets=torch.where(changed[:, None], pool[other], request.targets),
        row=torch.where(changed, PAD, request.row),
    )
