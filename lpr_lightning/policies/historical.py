"""What learners really did next."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.policies.planned import follow, start_of, went_on
from lpr_lightning.protocols import Act, Environment, LearnerData
from lpr_lightning.simulators.actions import ConceptActions
from lpr_lightning.types import PAD, InteractionBatch, Interactions, PathRequest, State


@dataclass(eq=False)
class HistoricalAnswers:
    """Recommends what the learner really did next in the log (baseline "historical data" of ExRec, section 5).

    The answers are the simulator's; `next_answers` also gives the real ones, which the paper takes. A path ends where
    the log does; that of a learner outside the data is empty. Where concepts are recommended, the first of an answer.

    Raises:
        SettingError: (when it begins) it is not connected to the data, or a history is not the front of its log.

    >>> from dataclasses import replace
    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> from lpr_lightning.simulators.rollout import rollout
    >>> log, ladder = Interactions.from_lists([[(0, 1), (2, 0), (1, 1)]]), Ladder(3)
    >>> request = ladder.request(targets=[[1]], length=3)
    >>> learner, history = torch.tensor([0]), log.batch(torch.tensor([0])).first(torch.tensor([1]))
    >>> request = replace(request, learner=learner, history=history)
    >>> policy = HistoricalAnswers()
    >>> policy.log = log
    >>> rollout(ladder, Targets(), request, policy).action
    tensor([[2, 1]])
    """

    log: Interactions | None = field(default=None, init=False, repr=False)
    """The logs of all learners; `connect` takes them from the data."""

    name = "historical"

    def connect(self, data: LearnerData) -> None:
        """Take the logs of all learners."""
        self.log = every_log(data)

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the paths that the learners took."""
        if self.log is None:
            raise SettingError("policy", self.name, "one that knows the logs", "call connect(data) on it")
        later = next_answers(self.log, request)
        actions = environment.simulator.actions
        action = later.concept[..., 0] if isinstance(actions, ConceptActions) else later.item
        known = later.mask & (action >= 0) & (action < len(actions))
        return start_of(action.masked_fill(~known, PAD))

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return what came next."""
        return follow(state)

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Go on by one step."""
        return went_on(state)


def every_log(data: LearnerData) -> Interactions:
    """Return the answer logs of all learners of the data."""
    parts = [data.interactions(split) for split in ("train", "val", "test")]
    return Interactions(
        offsets=torch.cat([parts[0].offsets[:1], *(one.lengths for one in parts)]).cumsum(0),
        learner=torch.cat([one.learner for one in parts]),
        item=torch.cat([one.item for one in parts]),
        concept=torch.cat([one.concept for one in parts]),
        correct=torch.cat([one.correct for one in parts]),
    )


def next_answers(log: Interactions, request: PathRequest) -> InteractionBatch:
    """Return the answers that the learners gave after their histories, as many as their requests are long.

    Raises:
        SettingError: a history does not end where its learner's log has the same answer.

    >>> log, one = Interactions.from_lists([[(0, 1), (2, 0), (1, 1)]]), torch.tensor([0])
    >>> history = log.batch(one).first(torch.tensor([2]))
    >>> request = PathRequest(history, torch.zeros(1, 3).bool(), torch.tensor([5]), one, one)
    >>> next_answers(log, request).concept.squeeze(-1)
    tensor([[1]])
    """
    history, device = request.history, log.offsets.device
    order = log.learner.argsort()
    place = torch.searchsorted(log.learner[order], request.learner.to(device)).clamp_max(max(len(order) - 1, 0))
    row = order[place]
    known = (log.learner[row] == request.learner.to(device)) & (request.learner.to(device) >= 0)
    start = history.lengths.to(device)
    last = (log.offsets[row] + start - 1).clamp(0, max(len(log) - 1, 0))
    ends = (history.lengths - 1).clamp_min(0)[:, None]
    mine = history.item.gather(1, ends).squeeze(1) if history.item.shape[1] else None
    if mine is not None and bool(((log.item[last].long() != mine.to(device)) & known & (start > 0)).any()):
        allowed = "histories that are the fronts of whole logs"
        raise SettingError("history", "one that is cut at its beginning", allowed, "leave out max_history")
    stop = torch.where(known, start + request.length.to(device), start)
    return log.batch(row, start, stop).to(request.length.device)
