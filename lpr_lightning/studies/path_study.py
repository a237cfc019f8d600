"""Policies side by side on requests for paths: what each brings by every judge, kept in files."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lpr_lightning.bases.agent import IDEAL, REFERENCE, points
from lpr_lightning.cache import fingerprint
from lpr_lightning.functional.bootstrap import bootstrap_mean_interval
from lpr_lightning.functional.diversity import path_diversity
from lpr_lightning.functional.learning_effect import learning_effect, learning_effect_defined
from lpr_lightning.functional.length import length_score
from lpr_lightning.metrics import FrontFigures
from lpr_lightning.objectives import Objective
from lpr_lightning.protocols import Connected, Goal, LearnerData, Simulator
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.studies.kept import kept_tensors
from lpr_lightning.studies.path_methods import Taught
from lpr_lightning.types import PathRequest, Rollout

FORMAT, SEED = 1, 59
"""Of what is kept, and of the answers."""
Values = dict[str, Tensor]
"""Of each request [R]: `effect` (NaN where nothing was left to learn), `fit` and `diversity`; `seconds`, a scalar."""


@dataclass(frozen=True)
class PathJudge:
    """Learners by whom policies are judged.

    Args:
        name: in tables.
        key: changes whenever the learners do.
        simulator: the learners.
        goal: with the exam that they take.
        early_stop: end an episode once the exam is full.
        episodes: of each request, whose mean is taken.
    """

    name: str
    key: str
    simulator: Simulator
    goal: Goal
    early_stop: bool = False
    episodes: int = 1


@dataclass(frozen=True)
class PathStudy:
    """Lets policies teach the learners of judges, and keeps what came of it in files.

    Args:
        out: folder of the files.
        data: of the learners.
        request: histories, targets and wanted lengths; no path counts beyond its length.
        key: changes whenever data or requests do.
        model: what policies may look into, whoever the learners are.
        say: gets the name of what is about to be measured.
    """

    out: Path
    data: LearnerData
    request: PathRequest
    key: str
    model: Simulator
    say: Callable[[str], None] = lambda _: None

    def values(self, taught: Taught, judge: PathJudge, looks_into: Simulator | None = None) -> Values:
        """Return what a policy brings by a judge, computed where it is not kept yet.

        Args:
            taught: the policy.
            judge: the learners.
            looks_into: what the policy may look into instead of the study's model.
        """
        name = f"{taught.name}_by_{judge.name}"
        parts = fingerprint(FORMAT, self.key, taught.key, judge.key, judge.episodes, judge.early_stop)

        def compute() -> Values:
            self.say(name.replace("_", " "))
            begun = time.perf_counter()
            found = self.taught(taught, judge, looks_into)
            effect = learning_effect(found.score_before, found.score_after, found.score_max)
            effect = effect.where(learning_effect_defined(found.score_before, found.score_max), torch.nan)
            fit = length_score(found.length, found.wanted_length, found.stopped)
            each = {"effect": effect, "fit": fit, "diversity": path_diversity(found.action)}
            values = {one: value.float().view(len(self.request), -1).mean(1) for one, value in each.items()}
            return values | {"seconds": torch.tensor(time.perf_counter() - begun)}

        return kept_tensors(self.out / "values" / f"{name}_{parts}.safetensors", compute)

    def taught(self, taught: Taught, judge: PathJudge, looks_into: Simulator | None = None) -> Rollout:
        """Return what happens when a judge's learners are taught, `episodes` times each."""
        if isinstance(taught.policy, Connected):
            taught.policy.connect(self.data)
        draws = request_draws(SEED, 0, self.request)
        return rollout(
            *(judge.simulator, judge.goal, self.request, taught.policy, draws, judge.episodes),
            early_stop=judge.early_stop,
            model=self.model if looks_into is None else looks_into,
        )

    def front(self, taught: Taught, judge: PathJudge, zpd: Objective) -> Values:
        """Return `zpd`, the mean alignment of the paths, and `hypervolume` of their set, by one judge.

        The set is that of all requests' points: learning effect, length score, path diversity and ZPD alignment.

        Args:
            taught: the policy.
            judge: the learners.
            zpd: the fitted objective, the same for all policies that are compared.
        """
        weights = fingerprint(torch.cat([value.float().flatten() for _, value in sorted(zpd.state_dict().items())]))
        parts = fingerprint(FORMAT, self.key, taught.key, judge.key, weights)

        def compute() -> Values:
            found, front = self.taught(taught, judge), FrontFigures(REFERENCE, IDEAL)
            value = zpd(found)
            front.update(points(found, value))
            return {"zpd": value.float().mean(), "hypervolume": front.compute()["hypervolume"].float()}

        return kept_tensors(self.out / "values" / f"{taught.name}_front_{parts}.safetensors", compute)


def figures_of(values: Sequence[Values], resamples: int) -> dict[str, float]:
    """Return the figures of one policy by one judge from its seeds.

    `effect` is the mean of E_p over requests and seeds, `effect_low` and `effect_high` its 95 % interval over learners
    (each learner's mean over seeds is resampled), `median` the median over learners, `seed_error` the standard error
    over seeds, 0 of a single one; `fit`, `diversity`, `requests`, `seeds`, `seconds`.

    >>> value = {"effect": torch.tensor([0.0, 1.0]), "fit": torch.ones(2), "diversity": torch.ones(2)}
    >>> figures_of([value | {"seconds": torch.tensor(1.0)}], 10)["effect"]
    0.5
    """
    mean = {name: torch.stack([one[name] for one in values]).mean(0) for name in ("effect", "fit", "diversity")}
    effect = mean["effect"][mean["effect"].isfinite()]
    low, high = bootstrap_mean_interval(effect, resamples, 0)
    by_seed = torch.stack([one["effect"].nanmean() for one in values])
    return {
        "effect": float(effect.mean()),
        "effect_low": float(low),
        "effect_high": float(high),
        "median": float(effect.median()),
        "seed_error": float(by_seed.std() / len(values) ** 0.5) if len(values) > 1 else 0.0,
        "fit": float(mean["fit"].mean()),
        "diversity": float(mean["diversity"].mean()),
        "requests": float(len(effect)),
        "seeds": float(len(values)),
        "seconds": float(torch.stack([one["seconds"] for one in values]).mean()),
    }


def over(values: Sequence[Values], others: Sequence[Values]) -> tuple[float, float]:
    """Return the mean difference in effect of the same requests, and its standard error over learners.

    >>> first, second = ({"effect": torch.tensor(some)} for some in ([1.0, 2.0], [0.0, 1.0]))
    >>> over([first], [second])
    (1.0, 0.0)
    """
    first, second = (torch.stack([one["effect"] for one in some]).mean(0) for some in (values, others))
    gap = (first - second)[(first - second).isfinite()]
    return float(gap.mean()), float(gap.std() / len(gap) ** 0.5) if len(gap) > 1 else 0.0


def with_shares(
    table: Mapping[tuple[str, str], dict[str, float]], own: str, searches: Sequence[str], truth: str, oracle: str
) -> None:
    """Add `share` to the figures by (method, judge): of the best search on the own simulator, of the oracle in truth.

    >>> table = {("beam", "dkt"): {"effect": 0.5}, ("rule", "dkt"): {"effect": 0.25}}
    >>> with_shares(table, "dkt", ["beam"], "truth", "oracle")
    >>> table["rule", "dkt"]["share"]
    0.5
    """
    for judge, names in ((own, searches), (truth, (oracle,))):
        bound = max((table[name, judge]["effect"] for name in names if (name, judge) in table), default=0.0)
        for (_, by), figures in table.items():
            if by == judge and bound > 0:
                figures["share"] = figures["effect"] / bound
