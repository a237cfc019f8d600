"""Greedy and beam search, one step ahead at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.demonstrations.demonstrator import Demonstrator, Learners
from lpr_lightning.demonstrations.lookahead import assess, look_ahead, select_rows
from lpr_lightning.demonstrations.search_value import fitness, search_value
from lpr_lightning.errors import SettingError
from lpr_lightning.types import Simulator, SimulatorState


@dataclass(frozen=True)
class BeamSearch(Demonstrator):
    """Extends the `width` best paths by every concept and keeps the `width` best of these (the bound in reports).

    On the way, paths are compared by mean target mastery plus 0.3 times the share of the exam passed; at the last
    step by their learning effect, ties broken by the same value. On simulators that answer at random, each
    comparison rests on one drawn answer.

    Args:
        width: Paths kept from step to step.
        candidates: Concepts tried on the second and later paths: those best on the first one, on which all are
            tried. None: all on every path, the most thorough and the slowest.
        max_rows: States held at once; bounds memory.

    Raises:
        SettingError: If `width`, `candidates` or `max_rows` is below 1.

    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> BeamSearch(width=4).plan(ladder.request(targets=[[0, 1, 2]], length=3), ladder)
    tensor([[0, 1, 2]])
    """

    width: int = 8
    candidates: int | None = None

    name = "search"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise SettingError("width", self.width, "a whole number above 0", "1 is greedy search")
        if self.candidates is not None and self.candidates < 1:
            raise SettingError("candidates", self.candidates, "a whole number above 0, or None for all concepts")

    def rows_per_learner(self, num_concepts: int) -> int:
        """Return the number of extensions of one learner's paths."""
        return num_concepts + (self.width - 1) * min(self.candidates or num_concepts, num_concepts)

    def find(self, simulator: Simulator, learners: Learners, top: int) -> tuple[Tensor, Tensor]:
        """Return the best `top` extensions of the last step, [B, top, L] and their learning effects."""
        count, state = len(learners), learners.state
        path = learners.targets.new_empty((count, 1, 0), dtype=torch.int64)
        offset = torch.arange(count, device=path.device)[:, None]
        for step in range(learners.length):
            last = step == learners.length - 1
            beam, concept, value, effect = self._extensions(simulator, learners, state, path.shape[1], last)
            best, chosen = value.topk(min(top if last else self.width, value.shape[1]), dim=1)
            beam, concept = beam.expand_as(value).gather(1, chosen), concept.gather(1, chosen)
            origin = (offset * path.shape[1] + beam).flatten()
            path = torch.cat([path.flatten(0, 1)[origin].view(*best.shape, step), concept[..., None]], 2)
            if not last:
                state, _, _ = simulator.step(select_rows(state, origin), concept.flatten())
        return path, effect.gather(1, chosen)

    def _extensions(
        self, simulator: Simulator, learners: Learners, state: SimulatorState, width: int, last: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return path number [1, E], concept, value and learning effect [B, E] of each learner's E extensions."""
        count, device = len(learners), learners.targets.device
        every = torch.arange(simulator.num_concepts, device=device).expand(count, -1)
        if width == 1 or self.candidates is None or self.candidates >= simulator.num_concepts:
            concept = every.repeat_interleave(width, 0)
            beam = torch.arange(width, device=device).repeat_interleave(every.shape[1])
            return beam[None], concept.reshape(count, -1), *_worth(simulator, learners, state, concept, last)
        rows = torch.arange(count * width, device=device).view(count, width)
        value, effect = _worth(simulator, learners, select_rows(state, rows[:, 0]), every, last)
        fewer = value.topk(self.candidates, dim=1).indices
        others = fewer.repeat_interleave(width - 1, 0)
        more = _worth(simulator, learners, select_rows(state, rows[:, 1:].flatten()), others, last)
        beam = torch.arange(1, width, device=device).repeat_interleave(self.candidates)
        return (
            torch.cat([beam.new_zeros(every.shape[1]), beam])[None],
            torch.cat([every, others.reshape(count, -1)], 1),
            torch.cat([value, more[0]], 1),
            torch.cat([effect, more[1]], 1),
        )


@dataclass(frozen=True)
class GreedySearch(Demonstrator):
    """Takes, step by step, the concept after which the learner is best prepared: beam search of width 1.

    Args:
        max_rows: States held at once; bounds memory.

    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> GreedySearch().plan(ladder.request(targets=[[0, 1]], length=2), ladder)
    tensor([[0, 1]])
    """

    name = "greedy"

    def rows_per_learner(self, num_concepts: int) -> int:
        """Return the number of next concepts."""
        return num_concepts

    def find(self, simulator: Simulator, learners: Learners, top: int) -> tuple[Tensor, Tensor]:
        """Return the greedy path and, after it, those that differ from it in the last step only."""
        return BeamSearch(width=1, max_rows=self.max_rows).find(simulator, learners, top)


def _worth(
    simulator: Simulator, learners: Learners, state: SimulatorState, concept: Tensor, last: bool
) -> tuple[Tensor, Tensor]:
    """Return value and learning effect [B, W * A] after each of `concept` [B * W, A]; the value is final if `last`."""
    state, _, _ = look_ahead(simulator, state, concept)
    mastery, score, best = (part.view(len(learners), -1) for part in assess(simulator, state, learners.targets))
    final, effect = fitness(mastery, learners.before[:, None], score, best)
    return final if last else search_value(mastery, score, best), effect
