"""Greedy and beam search, one step ahead at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lpr_lightning.errors import checked, checked_or_none
from lpr_lightning.policies.search import FoundPaths, Learners, Search, fitness, search_value, step
from lpr_lightning.protocols import Environment, Standing
from lpr_lightning.types import State, select_rows


class _Extensions(NamedTuple):
    """Extensions of each learner's paths: number of the path [B, E], action, value and learning effect [B, E]."""

    beam: Tensor
    action: Tensor
    value: Tensor
    effect: Tensor


@dataclass(frozen=True)
class BeamSearch(Search):
    """Extends the `width` best paths by every action and keeps the `width` best of these (the bound in reports).

    On the way, paths are compared by mean target mastery plus 0.3 times the share of the exam passed; at the last
    step by their learning effect, ties broken by the same value.

    Args:
        width: paths kept from step to step.
        candidates: actions tried on the second and later paths: those best on the first one, on which all are tried.
            None: all on every path, the most thorough and the slowest.
        max_rows: states held at once; bounds memory.
        replan: search anew after each answer.

    Raises:
        SettingError: `width`, `candidates` or `max_rows` is below 1.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> BeamSearch(width=4).search(Environment(ladder, Targets()), ladder.request(targets=[[0, 1, 2]], length=3)).path
    tensor([[[0, 1, 2]]])
    """

    width: int = 8
    candidates: int | None = None

    name = "search"

    def __post_init__(self) -> None:
        super().__post_init__()
        checked("width", self.width, 1, advice="1 is greedy search")
        checked_or_none("candidates", self.candidates, 1)

    def rows_per_learner(self, num_actions: int) -> int:
        """Return the number of extensions of one learner's paths."""
        return num_actions + (self.width - 1) * min(self.candidates or num_actions, num_actions)

    def find(self, environment: Environment, learners: Learners, top: int) -> FoundPaths:
        """Return the best `top` extensions of the last step."""
        count, state = len(learners), learners.state
        path = learners.row.new_empty((count, 1, 0))
        offset = torch.arange(count, device=path.device)[:, None]
        for number in range(learners.length):
            last = number == learners.length - 1
            tried = self._extensions(environment, learners, state, path.shape[1], last)
            best, chosen = tried.value.topk(min(top if last else self.width, tried.value.shape[1]), dim=1)
            beam, action = tried.beam.expand_as(tried.value).gather(1, chosen), tried.action.gather(1, chosen)
            origin = (offset * path.shape[1] + beam).flatten()
            path = torch.cat([path.flatten(0, 1)[origin].view(*best.shape, number), action[..., None]], 2)
            if not last:
                state = step(environment.simulator, select_rows(state, origin), action.flatten())
        return FoundPaths(path, tried.effect.gather(1, chosen))

    def _extensions(
        self, environment: Environment, learners: Learners, state: State, width: int, last: bool
    ) -> _Extensions:
        count, size, device = len(learners), len(environment.simulator.actions), learners.row.device
        every = torch.arange(size, device=device).expand(count, -1)
        if width == 1 or self.candidates is None or self.candidates >= size:
            action = every.repeat_interleave(width, 0)
            beam = torch.arange(width, device=device).repeat_interleave(size)
            value, effect = _values(environment, learners, state, action, last)
            return _Extensions(beam[None], action.reshape(count, -1), value, effect)
        rows = torch.arange(count * width, device=device).view(count, width)
        value, effect = _values(environment, learners, select_rows(state, rows[:, 0]), every, last)
        fewer = value.topk(self.candidates, dim=1).indices
        others = fewer.repeat_interleave(width - 1, 0)
        more = _values(environment, learners, select_rows(state, rows[:, 1:].flatten()), others, last)
        beam = torch.arange(1, width, device=device).repeat_interleave(self.candidates)
        return _Extensions(
            torch.cat([beam.new_zeros(size), beam])[None],
            torch.cat([every, others.reshape(count, -1)], 1),
            torch.cat([value, more[0]], 1),
            torch.cat([effect, more[1]], 1),
        )


@dataclass(frozen=True)
class GreedySearch(Search):
    """Takes, step by step, the action after which the learner is best prepared: beam search of width 1.

    Args:
        max_rows: states held at once; bounds memory.
        replan: search anew after each answer.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> GreedySearch().search(Environment(ladder, Targets()), ladder.request(targets=[[0, 1]], length=2)).path
    tensor([[[0, 1]]])
    """

    name = "greedy"

    def rows_per_learner(self, num_actions: int) -> int:
        """Return the number of next actions."""
        return num_actions

    def find(self, environment: Environment, learners: Learners, top: int) -> FoundPaths:
        """Return the greedy path and, after it, those that differ from it in the last step only."""
        return BeamSearch(width=1, max_rows=self.max_rows).find(environment, learners, top)


def _values(
    environment: Environment, learners: Learners, state: State, action: Tensor, last: bool
) -> tuple[Tensor, Tensor]:
    """Return value and learning effect [B, W * A] after each of `action` [B * W, A]; the value is final if `last`."""
    after = step(environment.simulator, state, action)
    standing = environment.goal.assess(environment.simulator, after, learners.concept)
    standing = Standing(*(part.view(len(learners), -1) for part in standing))
    final, effect = fitness(standing, learners.before[:, None])
    return final if last else search_value(standing), effect
