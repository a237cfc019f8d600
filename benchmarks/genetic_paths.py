"""Paths per second of genetic search over many learners at once, against the same search one path at a time.

Both sides use the same simulator, an untrained DKT of the usual size, and the same breeding; the other side
lets each path of the population run through the simulator alone. They take turns in one process on one thread, and
medians are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.goals import Targets
from lpr_lightning.models.dkt import DKT
from lpr_lightning.policies import GeneticSearch
from lpr_lightning.policies.search import Learners
from lpr_lightning.protocols import Environment
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.types import InteractionBatch, PathRequest, select_rows


@dataclass(frozen=True)
class OneByOne(GeneticSearch):
    """The same search; every path is evaluated alone, from its learner's state."""

    def evaluate(self, environment: Environment, learners: Learners, path: Tensor) -> tuple[Tensor, Tensor]:
        """Return fitness and learning effect [B, P] of paths [B, P, L], one after the other."""
        value, effect = torch.empty(path.shape[:2]), torch.empty(path.shape[:2])
        for learner in range(path.shape[0]):
            row = torch.tensor([learner])
            alone = Learners(
                select_rows(learners.state, row),
                learners.concept[row],
                learners.before[row],
                learners.row[row],
                learners.length,
                learners.candidate[row],
            )
            for number in range(path.shape[1]):
                found = super().evaluate(environment, alone, path[row, number : number + 1])
                value[learner, number], effect[learner, number] = found[0][0, 0], found[1][0, 0]
        return value, effect


def requests(learners: int, num_concepts: int, length: int) -> PathRequest:
    """Return requests of learners without history, towards eight targets each."""
    generator = torch.Generator().manual_seed(1)
    chosen = torch.rand(learners, num_concepts, generator=generator).argsort(1)[:, :8]
    row = torch.arange(learners)
    targets = torch.zeros(learners, num_concepts, dtype=torch.bool).scatter(1, chosen, True)
    return PathRequest(InteractionBatch.empty(learners), targets, torch.full_like(row, length), row, row)


def rate(search: GeneticSearch, request: PathRequest, environment: Environment) -> float:
    """Return the paths that a search evaluates in a second of processor time."""
    start = time.process_time()
    search.search(environment, request, top=4)
    paths = search.population + search.generations * (search.population - search.elite)
    return len(request) * paths / (time.process_time() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learners", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    environment = Environment(KESSimulator(DKT(num_concepts=149, hidden_size=100)), Targets())
    many, one = requests(settings.learners, 149, 10), requests(1, 149, 10)
    ours, other = GeneticSearch(generations=10), OneByOne(generations=3)
    rate(ours, one, environment)
    rates: tuple[list[float], list[float]] = [], []
    for number in range(settings.rounds):
        rates[0].append(rate(ours, many, environment))
        rates[1].append(rate(other, one, environment))
        print(f"round {number}: {rates[0][-1]:.0f} paths/s together, {rates[1][-1]:.0f} paths/s one by one", flush=True)
    together, alone = (statistics.median(values) for values in rates)
    report = {
        "ratio": round(together / alone, 1),
        "paths_per_s": round(together),
        "paths_per_s_one_by_one": round(alone),
        "measured": f"{settings.learners} learners x 64 paths x 10 steps; DKT, 149 concepts, hidden 100, one thread",
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
