"""Requests of learners who are in the middle of a path."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lpr_lightning.draws import Draws, drawn_answers
from lpr_lightning.errors import SettingError
from lpr_lightning.policies.planned import follow_paths
from lpr_lightning.protocols import Environment, Examples, Simulator
from lpr_lightning.types import PAD, PathRequest

TAKEN_UP = -2
"""Step of the draws of requests that are taken up; training counts from 0."""


class DrawnLearners:
    """Learners drawn from what a simulator believes of them: they answer by chance, and every answer is evidence.

    A step of an episode is what `observe` makes of a real answer. Without draws an answer is the likeliest one.
    """

    def __init__(self, model: Simulator) -> None:
        self.num_concepts, self.actions = model.num_concepts, model.actions
        self.start, self.predict, self.mastery = model.start, model.predict, model.mastery
        self.practise, self.observe = model.observe, model.observe

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        """Return answers of 0 or 1 with these probabilities."""
        return drawn_answers(probability, draws)


@dataclass(frozen=True)
class TakenUp:
    """Requests taken up in the middle of paths: each of `examples` after a random number of steps of its own path.

    `path` [E, L] are the paths, whose steps are answered by learners drawn from the environment's simulator. A request
    is the same whenever it is asked for; `row` is its number.
    """

    examples: Examples
    path: Tensor
    environment: Environment
    seed: int
    device: torch.device

    @property
    def sizes(self) -> Tensor:
        """Number of answers of each history before the path, [E] int64."""
        return self.examples.sizes

    def batch(self, index: Tensor) -> PathRequest:
        """Return the requests at `index` [B], on the device."""
        request = self.examples.batch(index)
        if not isinstance(request, PathRequest):
            raise SettingError("data.task", type(request).__name__, "a task that makes requests, such as PathRequests")
        request = request.to(self.device)
        draws = Draws.of(self.seed, TAKEN_UP, request.row)
        steps = draws.at(0).integers(request.length.clamp_min(1))
        path = self.path[index].to(self.device)
        return replace(under_way(self.environment, request, path, steps, draws.at(1)), row=request.row)


def under_way(
    environment: Environment, request: PathRequest, path: Tensor, steps: Tensor, draws: Draws | None
) -> PathRequest:
    """Return the requests after the first `steps` [B] of paths [B, L], answered by learners drawn from the simulator.

    The answers stand behind the histories; the wanted length is what is left. `row` becomes -1 where a step was taken.

    Raises:
        SettingError: there is not one path and one number of steps for each request.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(2)
    >>> request = ladder.request(targets=[[1]], length=3)
    >>> later = under_way(Environment(ladder, Targets()), request, torch.tensor([[0, 1, 1]]), torch.tensor([2]), None)
    >>> later.history.lengths - request.history.lengths, later.length, later.row
    (tensor([2]), tensor([1]), tensor([-1]))
    """
    if len(path) != len(request) or len(steps) != len(request):
        raise SettingError("path", tuple(path.shape), f"{len(request)} rows, one for each request")
    taken = path.masked_fill(torch.arange(path.shape[1], device=path.device) >= steps[:, None], PAD)
    if not bool((taken != PAD).any()):
        return request
    taught = follow_paths(DrawnLearners(environment.simulator), environment.goal, request, taken, draws)
    count = taught.session.mask.sum(1)
    return replace(
        request,
        history=request.history.then(taught.session),
        length=request.length - count,
        row=torch.where(count > 0, PAD, request.row),
    )
