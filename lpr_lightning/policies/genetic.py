"""Genetic search for paths, over all learners and their populations at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.policies.beam import GreedySearch
from lpr_lightning.policies.search import FoundPaths, Learners, Search, step
from lpr_lightning.protocols import Environment, Standing
from lpr_lightning.types import PAD, repeat_rows


@dataclass(frozen=True)
class GeneticSearch(Search):
    """Breeds paths: tournaments, single-point crossover, mutation, elites (the demonstrations of arXiv 2601.14686).

    A path's fitness is what `value` says at its end: the learning effect, ties broken by target mastery. The best
    distinct paths of all generations are returned, not those of the last only. The paper gives the operators but no
    settings; all numbers here are ours.

    Args:
        population: paths of one learner.
        generations: times the population is renewed.
        tournament: paths drawn for each parent, of which the best is taken.
        crossover: probability that a child has two parents.
        mutation: probability that a step is replaced at random; None is one step a path on average.
        elite: best paths that stay.
        seed: of the search's random numbers; equal requests then give equal paths, in any batch.
        seeded_by_greedy: put the greedy path into each first population, so that the result is never worse.
        value: what is maximised; on the way it guides the greedy path alone.
        candidates: which actions are tried.
        answers: answers on the way, `likeliest` or `expected`.
        max_rows: states held at once; bounds memory.
        replan: search anew after each answer.

    Raises:
        SettingError: a number is out of range.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder, search = Ladder(3), GeneticSearch(population=16, generations=10)
    >>> search.search(Environment(ladder, Targets()), ladder.request(targets=[[2]], length=3)).path
    tensor([[[0, 1, 2]]])
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
        for name, value, least in (
            ("population", self.population, 2),
            ("generations", self.generations, 0),
            ("tournament", self.tournament, 1),
            ("elite", self.elite, 0),
        ):
            if value < least:
                raise SettingError(name, value, f"a whole number of at least {least}")
        if self.elite >= self.population:
            raise SettingError("elite", self.elite, f"fewer than the population ({self.population})")
        for name, share in (("crossover", self.crossover), ("mutation", self.mutation)):
            if share is not None and not 0 <= share <= 1:
                raise SettingError(name, share, "a probability from 0 to 1")

    def rows_per_learner(self, num_candidates: int) -> int:
        """Return the size of the population."""
        return self.population

    def find(self, environment: Environment, learners: Learners, top: int) -> FoundPaths:
        """Return the best distinct paths of all generations."""
        length = learners.length
        path = _drawn(learners, Draws.of(self.seed, -1, learners.row), self.population)
        if self.seeded_by_greedy:
            greedy = GreedySearch(value=self.value, answers=self.answers, max_rows=self.max_rows)
            path[:, 0] = greedy.find(environment, learners, 1).path[:, 0]
        value, effect = self.evaluate(environment, learners, path)
        best = _distinct(path, value, effect, top)
        for number in range(self.generations):
            child = self._breed(path, value, learners, Draws.of(self.seed, number, learners.row))
            child_value, child_effect = self.evaluate(environment, learners, child)
            elite = value.argsort(dim=1, descending=True, stable=True)[:, : self.elite]
            path = torch.cat([path.gather(1, elite[..., None].expand(-1, -1, length)), child], 1)
            value = torch.cat([value.gather(1, elite), child_value], 1)
            joined = [torch.cat(pair, 1) for pair in zip(best, (child, child_value, child_effect))]
            best = _distinct(joined[0], joined[1], joined[2], top)
        found, value, effect = best
        missing = value == -torch.inf
        return FoundPaths(found.masked_fill(missing[..., None], PAD), effect.masked_fill(missing, -torch.inf))

    def evaluate(self, environment: Environment, learners: Learners, path: Tensor) -> tuple[Tensor, Tensor]:
        """Return fitness and learning effect [B, P] of paths [B, P, L], all rolled out side by side."""
        batch, count, length = path.shape
        state, flat = repeat_rows(learners.state, count), path.reshape(batch * count, length)
        for number in range(length):
            state = step(environment.simulator, state, flat[:, number], self.answers)
        standing = environment.goal.assess(environment.simulator, state, learners.concept)
        standing, before = Standing(*(part.view(batch, count) for part in standing)), learners.before[:, None]
        return self.value.final(standing, before), learning_effect(before, standing.score, standing.best)

    def _breed(self, path: Tensor, value: Tensor, learners: Learners, draws: Draws) -> Tensor:
        """Return the next generation's children, [B, population - elite, L]."""
        size, length = path.shape[1:]
        count = size - self.elite
        contender = draws.at(0).integers(size, 2 * count, self.tournament)
        winner = value.gather(1, contender.flatten(1)).view_as(contender).argmax(2, keepdim=True)
        parent = contender.gather(2, winner).expand(-1, -1, length)
        first, second = path.gather(1, parent).chunk(2, 1)
        point = 1 + draws.at(1).integers(max(length - 1, 1), count, 1)
        point = torch.where(draws.at(2).uniform(count, 1) < self.crossover, point, length)
        child = torch.where(torch.arange(length, device=path.device) < point, first, second)
        mutation = 1 / length if self.mutation is None else self.mutation
        fresh = _drawn(learners, draws.at(3), count)
        return torch.where(draws.at(4).uniform(count, length) < mutation, fresh, child)


def _drawn(learners: Learners, draws: Draws, count: int) -> Tensor:
    """Return `count` paths of each learner, drawn evenly from what may be taken, [B, count, L]."""
    allowed = (learners.candidate >= 0).sum(1)[:, None, None]
    place = draws.integers(allowed, count, learners.length)
    return learners.candidate.gather(1, place.flatten(1)).view_as(place)


def _distinct(path: Tensor, value: Tensor, effect: Tensor, top: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the `top` fittest distinct paths of each learner; what is missing has a fitness of minus infinity."""
    value, order = value.sort(dim=1, descending=True, stable=True)
    path = path.gather(1, order[..., None].expand_as(path))
    same = (path[:, :, None] == path[:, None]).all(3).tril(-1).any(2)
    value, kept = value.masked_fill(same, -torch.inf).sort(dim=1, descending=True, stable=True)
    value, kept = value[:, :top], kept[:, :top]
    path = path.gather(1, kept[..., None].expand(-1, -1, path.shape[2]))
    return path, value, effect.gather(1, order).gather(1, kept)
