"""Simulators side by side: what they predict, what is planned in them, and what each says of the others' paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from lpr_lightning.cache import fingerprint
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.bootstrap import bootstrap_mean_interval
from lpr_lightning.functional.open_loop import Steps
from lpr_lightning.functional.rank_fidelity import rank_fidelity, rank_fidelity_defined
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.hparams import Plain
from lpr_lightning.metrics.log_figures import Figures, LogFigures
from lpr_lightning.policies.beam import ChainSearch
from lpr_lightning.policies.candidates import TargetActions
from lpr_lightning.policies.judged import judged_effect
from lpr_lightning.policies.mixed_paths import fitted_length, mixed_paths, path_gains
from lpr_lightning.policies.simple_rules import TargetsInTurn
from lpr_lightning.protocols import Connected, Environment, Goal, LearnerData, Policy, Simulator, Tracer
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.simulators.world_learners import WorldLearners
from lpr_lightning.studies.kept import kept_numbers, kept_tensors
from lpr_lightning.types import PathRequest, State

Computed = TypeVar("Computed")

FORMAT, SEED = 1, 47
"""Of what is kept, and of paths and answers."""
CHUNK = 16
"""Learners whose mixed paths are met at once; changes nothing."""
TRUTH, DRAWS = "truth", 8
"""The row of the truth, and the draws of its answers to a path."""


@dataclass(frozen=True)
class Subject:
    """A model of learners: what follows logs, and what paths are planned and judged in.

    Args:
        name: in tables and file names.
        key: changes whenever the model does.
        model: observes, practises and predicts.
        start: the state of learners [B], numbers in the data set, before any answer.
        simulator: judges paths; None for one in which all paths are worth the same.
        planner: what paths are planned in, the simulator itself or, of the truth, its expectation.
        draws: draws of the answers to a path, where they are random; 0 where they are the expectation.
        seconds: that the fit took.
    """

    name: str
    key: str
    model: Steps
    start: Callable[[Tensor], State]
    simulator: Simulator | None = None
    planner: Simulator | None = None
    draws: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class Study:
    """Measures models of learners on the same logs and requests, and keeps all figures in files.

    Args:
        out: folder of the files.
        data: whose test learners are looked at.
        request: requests for paths.
        key: changes whenever data or requests do.
        figures: what is measured along logs.
        paths: mixed paths of each learner.
        say: gets the name of what is about to be measured.
        goal: of all paths, and the exam.
    """

    out: Path
    data: LearnerData
    request: PathRequest
    key: str
    figures: LogFigures
    paths: int = 48
    say: Callable[[str], None] = lambda _: None
    goal: Goal = field(default_factory=lambda: Targets(SoftExam()))

    def kept(self, name: str, parts: Sequence[Plain], compute: Callable[[], Figures]) -> Figures:
        """Return figures, computed where they are not kept yet."""
        path = self.out / "figures" / f"{name}_{fingerprint(FORMAT, self.key, list(parts))}.json"
        return kept_numbers(path, self._said(name, compute))

    def kept_tensor(self, name: str, parts: Sequence[Plain], compute: Callable[[], Tensor]) -> Tensor:
        """Return a tensor, computed where it is not kept yet."""
        path = self.out / "paths" / f"{name}_{fingerprint(FORMAT, self.key, list(parts))}.safetensors"
        return kept_tensors(path, lambda: {"value": self._said(name, compute)()})["value"]

    def _said(self, name: str, compute: Callable[[], Computed]) -> Callable[[], Computed]:
        def said() -> Computed:
            self.say(name)
            return compute()

        return said

    def log_figures(self, one: Subject) -> Figures:
        """Return how well a subject predicts the logs of test learners."""
        log, measured = self.data.interactions("test"), self.figures
        settings: list[Plain] = [one.key, list(measured.steps), measured.stride, measured.resamples]
        return self.kept(f"answers_{one.name}", settings, lambda: measured.compute(one.model, one.start, log))

    def connected(self, policy: Policy) -> Policy:
        """Return a policy that knows the data."""
        if isinstance(policy, Connected):
            policy.connect(self.data)
        return policy

    def planned(self, one: Subject) -> Tensor:
        """Return the paths that beam search finds in a subject, [B, L]."""
        beam = ChainSearch(max_rows=512)

        def compute() -> Tensor:
            self.connected(beam)
            return beam.search(Environment(simulator_of(one.planner), self.goal), self.request).path[:, 0]

        return self.kept_tensor(f"search_{one.name}", [one.key], compute)

    def effect(self, name: str, policy: Policy, planner: Subject | None, judge: Subject) -> Figures:
        """Return the learning effect of a policy by one judge: mean, and 95 % interval over learners."""

        def compute() -> Figures:
            model = None if planner is None else planner.planner
            draws, episodes = request_draws(SEED, 0, self.request), max(judge.draws, 1)
            where = simulator_of(judge.simulator)
            effect = judged_effect(where, self.goal, self.request, self.connected(policy), model, draws, episodes)
            effect = effect[effect.isfinite()]
            low, high = bootstrap_mean_interval(effect, 1000, 0)
            return {"effect": float(effect.mean()), "low": float(low), "high": float(high), "learners": len(effect)}

        keys = ["" if planner is None else planner.key, judge.key]
        row = name if planner is None else f"{name}_in_{planner.name}"
        return self.kept(f"effect_{row}_by_{judge.name}", keys, compute)

    def pool(self, planners: Sequence[Subject]) -> Tensor:
        """Return mixed paths of each learner, [B, K, L]: targets in turn, of the search in each planner, and drawn."""
        first = simulator_of(planners[0].planner)
        environment, length = Environment(first, self.goal), int(self.request.length.max())
        turn = self.connected(TargetsInTurn())
        in_turn = rollout(*environment, self.request, turn).action
        every = [fitted_length(path, length) for path in (in_turn, *(self.planned(one) for one in planners))]
        state = first.start(self.request)
        allowed = TargetActions().allowed(environment, state, self.goal.choose(first, state, self.request))
        drawn = max(self.paths - len(every), 4)
        draws = request_draws(SEED, 1, self.request)
        return mixed_paths(torch.stack(every, 1), allowed, self.request.length, drawn, draws)

    def gains(self, one: Subject, pool: Tensor) -> Tensor:
        """Return what the mixed paths bring by a subject, [B, K]; the mean over draws in truth."""

        def compute() -> Tensor:
            draws, parts = request_draws(SEED, 2, self.request), []
            judge, each = simulator_of(one.simulator), max(one.draws, 1)
            for first in range(0, len(self.request), CHUNK):
                rows = torch.arange(first, min(first + CHUNK, len(self.request)))
                many = pool[rows].repeat_interleave(each, 1)
                gain = path_gains(judge, self.goal, self.request.select(rows), many, draws.select(rows))
                parts.append(gain.view(len(rows), -1, each).mean(2))
            return torch.cat(parts)

        return self.kept_tensor(f"gains_{one.name}", [one.key, fingerprint(pool)], compute)


def simulator_of(simulator: Simulator | None) -> Simulator:
    """Return a simulator that must be there."""
    if simulator is None:
        raise SettingError("simulator", None, "a row that paths can be planned in")
    return simulator


def of_tracer(name: str, key: str, tracer: nn.Module, seconds: float, simulator: Simulator | None = None) -> Subject:
    """Return the row of a tracer, which plans and judges by its expectation, or as another `simulator` of it answers.

    Raises:
        SettingError: it lacks calls of a tracer.
    """
    if not isinstance(tracer, Tracer):
        raise SettingError("tracer", type(tracer).__name__, "a module with the calls of a tracer")
    own = simulator or KESSimulator(tracer, response="soft")
    return Subject(name, key, tracer, beginning(tracer), own, own, seconds=seconds)


def of_truth(data: LearnerData, truth: WorldLearners) -> Subject:
    """Return the row of learners of known truth."""
    key = fingerprint(TRUTH, data.fingerprint)
    return Subject(TRUTH, key, truth, truth.begin, truth, truth.expected(), DRAWS)


def beginning(tracer: Tracer) -> Callable[[Tensor], State]:
    """Return what gives the state of learners before any answer."""
    return lambda learner: tracer.initial_state(len(learner))


def fidelity(gain: Tensor, true: Tensor) -> Figures:
    """Return how a simulator ranks each learner's paths, gains [B, K], beside the truth: mean and 95 % interval."""
    value = rank_fidelity(gain, true)[rank_fidelity_defined(gain, true)]
    low, high = bootstrap_mean_interval(value, 1000, 0)
    names = ("rank_fidelity", "rank_fidelity_low", "rank_fidelity_high")
    return dict(zip(names, (float(value.mean()), float(low), float(high)), strict=True))
