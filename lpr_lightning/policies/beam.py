"""Greedy and beam search, one step ahead at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.policies.candidates import Candidates, ClosureActions
from lpr_lightning.policies.search import Expectation, FoundPaths, Learners, Search, step
from lpr_lightning.policies.values import ChainValue, SearchValue
from lpr_lightning.protocols import Environment, Standing
from lpr_lightning.types import PAD, State, select_rows


class _Extensions(NamedTuple):
    """Extensions of each learner's paths: number of the path [B, E], action (-1: none), value and effect [B, E]."""

    beam: Tensor
    action: Tensor
    value: Tensor
    effect: Tensor


@dataclass(frozen=True)
class BeamSearch(Search):
    """Extends the `width` best paths by every candidate and keeps the `width` best of these.

    Differs from the textbook's in that of paths with the same actions, each as often, only the best order can be kept.

    Args:
        width: paths kept from step to step.
        tried: actions tried on the second and later paths: those best on the first one, on which all are tried.
            None: all on every path, the most thorough and the slowest.
        distinct_sets: keep one path of those that hold the same actions equally often; else a beam fills up with
            the orders of one set.
        value: what is maximised.
        candidates: which actions are tried.
        answers: answers on the way, `likeliest` or `expected`.
        max_rows: states held at once; bounds memory.
        replan: search anew after each answer.

    Raises:
        SettingError: `width`, `tried` or `max_rows` is below 1, or `answers` is unknown.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> BeamSearch(width=4).search(Environment(ladder, Targets()), ladder.request(targets=[[0, 1, 2]], length=3)).path
    tensor([[[0, 1, 2]]])
    """

    width: int = 8
    tried: int | None = None
    distinct_sets: bool = False

    name = "search"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise SettingError("width", self.width, "a whole number above 0", "1 is greedy search")
        if self.tried is not None and self.tried < 1:
            raise SettingError("tried", self.tried, "a whole number above 0, or None for all actions")

    def rows_per_learner(self, num_candidates: int) -> int:
        """Return the number of extensions of one learner's paths."""
        return num_candidates + (self.width - 1) * min(self.tried or num_candidates, num_candidates)

    def find(self, environment: Environment, learners: Learners, top: int) -> FoundPaths:
        """Return the best `top` extensions of the last step."""
        count, state = len(learners), learners.state
        path = learners.row.new_empty((count, 1, 0))
        there = learners.row.new_ones((count, 1), dtype=torch.bool)
        actions = learners.row.new_zeros((count, 1))  # a hash of each path's set of actions
        offset = torch.arange(count, device=path.device)[:, None]
        for number in range(learners.length):
            last = number == learners.length - 1
            options = self._extensions(environment, learners, state, path.shape[1], last)
            beam = options.beam.expand_as(options.value)
            value = options.value.masked_fill((options.action < 0) | ~there.gather(1, beam), -torch.inf)
            sets = actions.gather(1, beam) + _hashes(options.action)
            if self.distinct_sets:
                value = _best_of_each(value, sets)
            best, chosen = value.sort(dim=1, descending=True, stable=True)
            size = min(top if last else self.width, value.shape[1])
            there, chosen = best[:, :size] > -torch.inf, chosen[:, :size]
            beam, action, actions = (part.gather(1, chosen) for part in (beam, options.action, sets))
            origin = (offset * path.shape[1] + beam).flatten()
            path = torch.cat([path.flatten(0, 1)[origin].view(count, size, number), action[..., None]], 2)
            if not last:
                state = step(
                    environment.simulator, select_rows(state, origin), action.clamp_min(0).flatten(), self.answers
                )
        effect = options.effect.gather(1, chosen)
        return FoundPaths(path.masked_fill(~there[..., None], PAD), effect.masked_fill(~there, -torch.inf))

    def _extensions(
        self, environment: Environment, learners: Learners, state: State, width: int, last: bool
    ) -> _Extensions:
        count, (size, every) = len(learners), (learners.candidate.shape[1], learners.candidate)
        device = every.device
        if width == 1 or self.tried is None or self.tried >= size:
            action = every.repeat_interleave(width, 0)
            beam = torch.arange(width, device=device).repeat_interleave(size)
            value, effect = self._values(environment, learners, state, action, last)
            return _Extensions(beam[None], action.reshape(count, -1), value, effect)
        rows = torch.arange(count * width, device=device).view(count, width)
        value, effect = self._values(environment, learners, select_rows(state, rows[:, 0]), every, last)
        ranked = value.masked_fill(every < 0, -torch.inf).argsort(dim=1, descending=True, stable=True)
        fewer = ranked[:, : self.tried]
        others = every.gather(1, fewer).repeat_interleave(width - 1, 0)
        more = self._values(environment, learners, select_rows(state, rows[:, 1:].flatten()), others, last)
        beam = torch.arange(1, width, device=device).repeat_interleave(self.tried)
        return _Extensions(
            torch.cat([beam.new_zeros(size), beam])[None],
            torch.cat([every, others.reshape(count, -1)], 1),
            torch.cat([value, more[0]], 1),
            torch.cat([effect, more[1]], 1),
        )

    def _values(
        self, environment: Environment, learners: Learners, state: State, action: Tensor, last: bool
    ) -> tuple[Tensor, Tensor]:
        """Return value and learning effect [B, W * A] after each of `action` [B * W, A]; final ones if `last`.

        On the way no effect is read: it is 0.
        """
        count, simulator = len(learners), environment.simulator
        after = step(simulator, state, action.clamp_min(0), self.answers)
        if not last:
            value = self.value.guide(environment, after, learners.concept).view(count, -1)
            return value, torch.zeros_like(value)
        standing = environment.goal.assess(simulator, after, learners.concept)
        standing = Standing(*(part.view(count, -1) for part in standing))
        before = learners.before[:, None]
        return self.value.final(standing, before), learning_effect(before, standing.score, standing.best)


@dataclass(frozen=True)
class ChainSearch(BeamSearch):
    """A beam search with expected answers for soft exams: credits what targets build on, and tries nothing else.

    Targets and unmastered ancestors are tried (`ClosureActions`), valued by `ChainValue`; one order of the same steps
    is kept. Arguments are those of `BeamSearch`.

    Args:
        width: paths kept from step to step.
        tried: actions tried on the second and later paths; None for all candidates.
        distinct_sets: keep one path of those that hold the same actions equally often.
        value: what is maximised.
        candidates: which actions are tried.
        answers: answers on the way, `likeliest` or `expected`.
        max_rows: states held at once; bounds memory.
        replan: search anew after each answer.
    """

    distinct_sets: bool = True
    value: SearchValue = field(default_factory=ChainValue, kw_only=True)
    candidates: Candidates = field(default_factory=ClosureActions, kw_only=True)
    answers: Expectation = field(default="expected", kw_only=True)

    name = "chain_search"


@dataclass(frozen=True)
class Oracle(ChainSearch):
    """A wide `ChainSearch` for learners of known truth, with access to it: the best path found, no bound.

    `CompareBaselines` lets it look into the truth; as a policy in its own right it looks into any model. Arguments are
    those of `ChainSearch`.
    """

    width: int = 32

    name = "oracle"


@dataclass(frozen=True)
class GreedySearch(Search):
    """Takes, step by step, the action after which the learner is best prepared: beam search of width 1.

    Args:
        value: what is maximised.
        candidates: which actions are tried.
        answers: answers on the way, `likeliest` or `expected`.
        max_rows: states held at once; bounds memory.
        replan: search anew after each answer.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> GreedySearch().search(Environment(ladder, Targets()), ladder.request(targets=[[0, 1]], length=2)).path
    tensor([[[0, 1]]])
    """

    name = "greedy"

    def rows_per_learner(self, num_candidates: int) -> int:
        """Return the number of next actions."""
        return num_candidates

    def find(self, environment: Environment, learners: Learners, top: int) -> FoundPaths:
        """Return the greedy path and, after it, those that differ from it in the last step only."""
        beam = BeamSearch(width=1, value=self.value, answers=self.answers, max_rows=self.max_rows)
        return beam.find(environment, learners, top)


def _hashes(action: Tensor) -> Tensor:
    """Return 64-bit hashes of actions, [B, E]; their sum, which wraps around, stands for a set with repeats."""
    return Draws.of(0, 0, action.flatten()).key.view_as(action)


def _best_of_each(value: Tensor, sets: Tensor) -> Tensor:
    """Return the values [B, E], minus infinity where another extension of the same set is better or comes before.

    >>> _best_of_each(torch.tensor([[1.0, 3.0, 2.0, 3.0]]), torch.tensor([[7, 8, 7, 8]]))
    tensor([[-inf, 3., 2., -inf]])
    """
    order = value.argsort(dim=1, descending=True, stable=True)
    ordered = sets.gather(1, order)
    together = ordered.argsort(dim=1, stable=True)
    ordered, place = ordered.gather(1, together), order.gather(1, together)
    again = torch.zeros_like(ordered, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return value.masked_fill(torch.zeros_like(again).scatter(1, place, again), -torch.inf)
