"""Genetic search for paths, over all learners and their populations at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.demonstrations.beam import GreedySearch
from lpr_lightning.demonstrations.demonstrator import Demonstrator, Learners
from lpr_lightning.demonstrations.lookahead import assess
from lpr_lightning.demonstrations.randomness import generator_for
from lpr_lightning.demonstrations.search_value import fitness
from lpr_lightning.errors import SettingError
from lpr_lightning.simulators.rollout import repeat_state
from lpr_lightning.types import Simulator


@dataclass(frozen=True)
class GeneticSearch(Demonstrator):
    """Breeds paths: tournaments, single-point crossover, mutation, elites (the demonstrations of arXiv 2601.14686).

    A path's fitness is its learning effect, ties broken by target mastery. The best distinct paths of all
    generations are returned, not those of the last only. The paper gives the operators but no settings; all
    numbers here are ours. On simulators that answer at random, a path is judged by one rollout.

    Args:
        population: Paths of one learner.
        generations: Times the population is renewed.
        tournament: Paths drawn for each parent, of which the best is taken.
        crossover: Probability that a child has two parents.
        mutation: Probability that a step is replaced at random; None is one step a path on average.
        elite: Best paths that stay.
        seed: Of the search's random numbers; equal requests then give equal paths.
        seeded_by_greedy: Put the greedy path into each first population, so that the result is never worse.
        max_rows: States held at once; bounds memory.

    Raises:
        SettingError: If a number is out of range.

    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> GeneticSearch(population=16, generations=10).plan(ladder.request(targets=[[2]], length=3), ladder)
    tensor([[0, 1, 2]])
    """

    population: int = 64
    generations: int = 40
    tournament: int = 3
    crossover: float = 0.9
    mutation: float | None = None
    elite: int = 2
    seed: int = 0
    seeded_by_greedy: bool = False

    name = "genetic"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("population", 2), ("generations", 0), ("tournament", 1), ("elite", 0)):
            if getattr(self, name) < least:
                raise SettingError(name, getattr(self, name), f"a whole number of at least {least}")
        if self.elite >= self.population:
            raise SettingError("elite", self.elite, f"fewer than the population ({self.population})")
        for name in ("crossover", "mutation"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise SettingError(name, value, "a probability from 0 to 1")

    def rows_per_learner(self, num_concepts: int) -> int:
        """Return the size of the population."""
        return self.population

    def find(self, simulator: Simulator, learners: Learners, top: int) -> tuple[Tensor, Tensor]:
        """Return the best distinct paths of all generations, [B, top, L], and their learning effects."""
        generator = generator_for(self.seed, learners.row)
        shape = (len(learners), self.population, learners.length)
        path = torch.randint(
            simulator.num_concepts, shape, generator=generator, device=learners.targets.device, dtype=torch.int64
        )
        if self.seeded_by_greedy:
            path[:, 0] = GreedySearch(max_rows=self.max_rows).find(simulator, learners, 1)[0][:, 0]
        worth, effect = self.evaluate(simulator, learners, path)
        best = _distinct(path, worth, effect, top)
        for _ in range(self.generations):
            child = self._breed(path, worth, simulator.num_concepts, generator)
            child_worth, child_effect = self.evaluate(simulator, learners, child)
            elite = worth.topk(self.elite, dim=1).indices
            path = torch.cat([path.gather(1, elite[..., None].expand(-1, -1, shape[2])), child], 1)
            worth = torch.cat([worth.gather(1, elite), child_worth], 1)
            joined = [torch.cat(pair, 1) for pair in zip(best, (child, child_worth, child_effect))]
            best = _distinct(joined[0], joined[1], joined[2], top)
        found, worth, effect = best
        missing = worth == -torch.inf
        return found.masked_fill(missing[..., None], -1), effect.masked_fill(missing, -torch.inf)

    def evaluate(self, simulator: Simulator, learners: Learners, path: Tensor) -> tuple[Tensor, Tensor]:
        """Return fitness and learning effect [B, P] of paths [B, P, L], all rolled out side by side."""
        batch, count, length = path.shape
        state, flat = repeat_state(learners.state, count), path.reshape(batch * count, length)
        for step in range(length):
            state, _, _ = simulator.step(state, flat[:, step])
        mastery, score, best = (part.view(batch, count) for part in assess(simulator, state, learners.targets))
        return fitness(mastery, learners.before[:, None], score, best)

    def _breed(self, path: Tensor, worth: Tensor, num_concepts: int, generator: torch.Generator) -> Tensor:
        """Return the next generation's children, [B, population - elite, L]."""
        batch, size, length = path.shape
        count, device = size - self.elite, path.device

        def chance(*shape: int) -> Tensor:
            return torch.rand(batch, count, *shape, generator=generator, device=device)

        def whole(high: int, *shape: int) -> Tensor:
            return torch.randint(high, (batch, *shape), generator=generator, device=device)

        contender = whole(size, 2 * count, self.tournament)
        winner = worth.gather(1, contender.flatten(1)).view_as(contender).argmax(2, keepdim=True)
        parent = contender.gather(2, winner).expand(-1, -1, length)
        first, second = path.gather(1, parent).chunk(2, 1)
        point = 1 + whole(max(length - 1, 1), count, 1)
        point = torch.where(chance(1) < self.crossover, point, length)
        child = torch.where(torch.arange(length, device=device) < point, first, second)
        mutation = 1 / length if self.mutation is None else self.mutation
        return torch.where(chance(length) < mutation, whole(num_concepts, count, length), child)


def _distinct(path: Tensor, worth: Tensor, effect: Tensor, top: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the `top` fittest distinct paths of each learner; what is missing has a fitness of minus infinity."""
    worth, order = worth.sort(dim=1, descending=True, stable=True)
    path = path.gather(1, order[..., None].expand_as(path))
    same = (path[:, :, None] == path[:, None]).all(3).tril(-1).any(2)
    worth, kept = worth.masked_fill(same, -torch.inf).topk(min(top, worth.shape[1]), dim=1)
    path = path.gather(1, kept[..., None].expand(-1, -1, path.shape[2]))
    return path, worth, effect.gather(1, order).gather(1, kept)
