"""Policies side by side on a bank of questions: what each brings on each goal, judged by several kinds of learners."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lpr_lightning.cache import fingerprint
from lpr_lightning.functional.bootstrap import grouped_ratio
from lpr_lightning.functional.exercise_score import target_gain
from lpr_lightning.policies.historical import every_log, next_answers
from lpr_lightning.protocols import Connected, Goal, LearnerData, Policy, Simulator
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.studies.kept import kept_tensors
from lpr_lightning.types import InteractionBatch, PathRequest

FORMAT, SEED = 1, 53
"""Of what is kept, and of the answers."""
CHUNK = 256
"""Starts that are taught at once; changes nothing."""

Values = dict[str, Tensor]
"""Figures of each start [R]: `gain`, `attainable`, `released` and `released_attainable`; and `seconds`, a scalar."""


@dataclass(frozen=True)
class Judge:
    """Learners by whom policies are judged.

    Args:
        name: in tables.
        key: changes whenever the learners do.
        simulator: answers, by chance.
        episodes: of each start, whose mean is taken.
    """

    name: str
    key: str
    simulator: Simulator
    episodes: int = 1


@dataclass(frozen=True)
class Method:
    """A policy in comparison, and the model that it may look into.

    Args:
        name: in tables.
        key: changes whenever policy or model do.
        policy: recommends.
        model: may be looked into; None where nothing of it is read but the number of actions.
        seed: of its training; 0 where nothing is trained.
        real: learners answer as they really did (`next_answers`), whatever the policy.
    """

    name: str
    key: str
    policy: Policy
    model: Simulator | None = None
    seed: int = 0
    real: bool = False


@dataclass(frozen=True)
class ExerciseStudy:
    """Lets methods teach the learners of judges towards goals, and keeps what came of it in files.

    Args:
        out: folder of the files.
        data: of the learners.
        request: where learners start, and how many exercises they are given.
        key: changes whenever data or requests do.
        say: gets the name of what is about to be measured.
    """

    out: Path
    data: LearnerData
    request: PathRequest
    key: str
    say: Callable[[str], None] = lambda _: None

    def values(self, method: Method, goal: Goal, goal_key: str, judge: Judge) -> Values:
        """Return what a method brings on a goal by a judge, computed where it is not kept yet."""
        parts = [FORMAT, self.key, method.key, method.seed, goal_key, judge.key, judge.episodes]
        name = f"{method.name}_{method.seed}_{goal_key.split()[0]}_by_{judge.name}_{fingerprint(*parts)}"
        path = self.out / "values" / f"{name}.safetensors"

        def compute() -> Values:
            self.say(f"{method.name} {method.seed or ''} towards {goal_key.split()[0]}, by {judge.name}")
            return self._computed(method, goal, judge)

        return kept_tensors(path, compute)

    def _computed(self, method: Method, goal: Goal, judge: Judge) -> Values:
        begun, parts = time.perf_counter(), []
        for rows in torch.split(torch.arange(len(self.request)), CHUNK):
            request = self.request.select(rows)
            played = self.session(method, goal, judge, request)
            every = request.repeat(judge.episodes)
            before, after, chosen = followed(judge.simulator, goal, every, played, method.real)
            both = [*target_gain(before, after, chosen), *target_gain(before, after, chosen, repeats=True)]
            parts.append([one.view(len(rows), -1).mean(1) for one in both])
        names = ("gain", "attainable", "released", "released_attainable")
        found = {name: torch.cat([part[place] for part in parts]) for place, name in enumerate(names)}
        return found | {"seconds": torch.tensor(time.perf_counter() - begun)}

    def session(self, method: Method, goal: Goal, judge: Judge, request: PathRequest) -> InteractionBatch:
        """Return what the learners of requests [B] are asked and answer, [B * episodes, L]."""
        if isinstance(method.policy, Connected):
            method.policy.connect(self.data)
        if method.real:
            return next_answers(every_log(self.data), request).repeat(judge.episodes)
        draws = request_draws(SEED, 0, request)
        return rollout(
            *(judge.simulator, goal, request, method.policy, draws, judge.episodes),
            model=method.model,
            report_mastery=False,
        ).session

    def figures(self, values: Sequence[Values], resamples: int) -> dict[str, float]:
        """Return the figures of one method, goal and judge from its seeds: means with 95 % intervals over learners.

        `gain` is in mastery, `share` that of the attainable (a percentage in the paper); `released_…` the same as the
        authors' code counts them; `seed_error` the standard error of the gain over seeds, 0 of a single one.
        """
        mean = {name: torch.stack([one[name] for one in values]).mean(0) for name in values[0] if name != "seconds"}
        learner, found = self.request.learner, dict[str, float]()
        for name, which, over in (
            ("gain", "gain", None),
            ("share", "gain", "attainable"),
            ("released_gain", "released", None),
            ("released_share", "released", "released_attainable"),
        ):
            denominator = torch.ones_like(mean[which]) if over is None else mean[over]
            bounds = grouped_ratio(mean[which], denominator, learner, resamples)
            found |= {name: bounds[0], f"{name}_low": bounds[1], f"{name}_high": bounds[2]}
        by_seed = torch.stack([one["gain"].mean() for one in values])
        error = float(by_seed.std() / len(values) ** 0.5) if len(values) > 1 else 0.0
        seconds = float(torch.stack([one["seconds"] for one in values]).mean())
        return found | {"seed_error": error, "seeds": float(len(values)), "seconds": seconds}

    def over(self, values: Sequence[Values], others: Sequence[Values], resamples: int) -> tuple[float, float, float]:
        """Return the mean difference in gain of the same starts, with its 95 % interval over learners."""
        first, second = (torch.stack([one["gain"] for one in some]).mean(0) for some in (values, others))
        return grouped_ratio(first - second, torch.ones_like(first), self.request.learner, resamples)


@torch.no_grad()
def followed(
    simulator: Simulator, goal: Goal, request: PathRequest, session: InteractionBatch, real: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mastery of all concepts before and after sessions, [B, N] each, and the goal's choices, [B, S].

    Of a goal that chooses anew at each step, S holds the choices before each step, in order.

    Args:
        simulator: the learners.
        goal: chooses concepts.
        request: where the learners start, B of them.
        session: what they were asked and answered, [B, L].
        real: whether the answers are evidence from outside (`observe`), not a simulator's own (`practise`).

    >>> from lpr_lightning.goals import WeakestConcept
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> from lpr_lightning.types import Interactions
    >>> ladder, session = Ladder(2), Interactions.from_lists([[(0, 1), (1, 1)]]).batch(torch.tensor([0]))
    >>> followed(ladder, WeakestConcept(), ladder.request(targets=[[0]], length=2), session)
    (tensor([[0., 0.]]), tensor([[0.5000, 0.5000]]), tensor([[0, 1]]))
    """
    state = simulator.start(request)
    before = simulator.mastery(state)
    chosen = [goal.choose(simulator, state, request)]
    step = simulator.observe if real else simulator.practise
    for place in range(session.mask.shape[1]):
        state = step(state, session.asked(place), session.correct[:, place])
        if goal.every_step and place < session.mask.shape[1] - 1:
            chosen.append(goal.choose(simulator, state, request))
    return before, simulator.mastery(state), torch.cat(chosen, 1)


@torch.no_grad()
def mastery_path(simulator: Simulator, request: PathRequest, session: InteractionBatch) -> Tensor:
    """Return the mastery of all concepts before sessions and after each step of them, [B, L + 1, N]."""
    state = simulator.start(request)
    found = [simulator.mastery(state)]
    for place in range(session.mask.shape[1]):
        state = simulator.practise(state, session.asked(place), session.correct[:, place])
        found.append(simulator.mastery(state))
    return torch.stack(found, 1)
