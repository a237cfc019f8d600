"""Whether a policy follows the rules that episodes count on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lpr_lightning.checks.rules import SEED, copied, need, need_rows, need_two, same
from lpr_lightning.draws import Draws
from lpr_lightning.protocols import Environment, Policy
from lpr_lightning.types import PAD, PathRequest, State, repeat_rows

STEPS = 3
"""Most steps of the trial episodes."""
ALONE = 8
"""Most learners that are also taught alone."""


@torch.no_grad()
def check_policy(policy: Policy, environment: Environment, request: PathRequest) -> None:
    """Let a policy teach the learners of an environment and see that it follows the rules.

    1. ranges: an action is a whole number from -1 to below the number of actions for each row, a log-probability a
       finite number; states have rows first, and may be repeated for groups;
    2. determinism: without draws, actions are the same again;
    3. draws: with the same draws, actions are the same again;
    4. no state leak: neither `act` nor `see` changes the state it is given;
    5. batch independence: a learner alone is taught as in company, with and without draws;
    6. ended rows: what became of rows whose path has ended changes nothing for others.

    Args:
        policy: what is checked.
        environment: the learners and the goal.
        request: at least two learners, best of different histories and wanted lengths; eight are enough.

    Raises:
        BrokenRule: names the rule, what was found and what to do.
        SettingError: there are too few learners.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.policies import RandomPaths
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> check_policy(RandomPaths(), Environment(ladder, Targets()), ladder.request(targets=[[0], [1, 2]], length=3))
    """
    need_two("request", len(request))
    draws = Draws.of(SEED, 0, torch.arange(len(request), device=request.length.device))
    likeliest = _Trial(policy, environment, request, None)
    sampled = replace(likeliest, draws=draws)
    _check_ranges(sampled)
    for trial, rule, advice in (
        (likeliest, "determinism", "draw nothing where draws are None"),
        (sampled, "draws", "take every random number from the draws given"),
    ):
        first, second = trial.taught(), trial.taught()
        need(rule, torch.equal(first, second), "the same episode went differently again", advice)
        _check_no_leak(trial)
        _check_batch_independence(trial)
        _check_ended_rows(trial)


@dataclass(frozen=True)
class _Trial:
    """A policy in an environment, requests [B], and random numbers for its actions."""

    policy: Policy
    environment: Environment
    request: PathRequest
    draws: Draws | None

    @property
    def steps(self) -> int:
        return min(STEPS, max(int(self.request.length.max()), 1))

    def act(self, own: State, learners: State, step: int) -> Tensor:
        """Return the actions [B] at a step, -1 from the wanted length on."""
        environment = self.environment
        concept = environment.goal.choose(environment.simulator, learners, self.request)
        draws = None if self.draws is None else self.draws.at(step)
        action = self.policy.act(environment, own, concept, draws).action
        return action.masked_fill(self.request.length <= step, PAD)

    def answered(self, own: State, learners: State, action: Tensor) -> tuple[State, State]:
        """Return the policy's and the learners' states after the likeliest answers."""
        simulator = self.environment.simulator
        asked, idle = simulator.actions.at(action), action == PAD
        answer = simulator.respond(simulator.predict(learners, asked), None).masked_fill(idle, 0.0)
        return self.policy.see(self.environment, own, action, answer), simulator.practise(learners, asked, answer)

    def taught(self, ended: Tensor | None = None) -> Tensor:
        """Return the actions [B, L] of an episode; that of the rows `ended` [B] ends after the first step."""
        own = self.policy.begin(self.environment, self.request)
        learners = self.environment.simulator.start(self.request)
        actions: list[Tensor] = []
        for step in range(self.steps):
            action = self.act(own, learners, step)
            if ended is not None and step > 0:
                action = action.masked_fill(ended, PAD)
            actions.append(action)
            own, learners = self.answered(own, learners, action)
        return torch.stack(actions, 1)


def _check_ranges(trial: _Trial) -> None:
    rule, environment, request = "ranges", trial.environment, trial.request
    size, learners = len(environment.simulator.actions), environment.simulator.start(request)
    own = trial.policy.begin(environment, request)
    need_rows(rule, "begin", own, len(request))
    concept = environment.goal.choose(environment.simulator, learners, request)
    for copies, draws in ((1, trial.draws), (2, None if trial.draws is None else trial.draws.fork(2))):
        rows = len(request) * copies
        state = repeat_rows(own, copies)
        act = trial.policy.act(environment, state, concept.repeat_interleave(copies, 0), draws)
        found = f"act gave {tuple(act.action.shape)} {act.action.dtype} for {rows} rows"
        need(rule, act.action.shape == (rows,) and act.action.dtype == torch.int64, found, "return [B] int64")
        inside = bool(((act.action >= PAD) & (act.action < size)).all())
        need(rule, inside, f"act gave actions {act.action.tolist()} of {size}", f"return -1 to {size - 1}")
        if act.log_prob is not None:
            finite = act.log_prob.shape == (rows,) and bool(act.log_prob.isfinite().all())
            found = f"act gave log-probabilities {act.log_prob.tolist()}"
            need(rule, finite, found, "return finite numbers [B] of the actions that were taken, or None")
        answer = torch.zeros(rows, device=act.action.device)
        need_rows(rule, "see", trial.policy.see(environment, state, act.action, answer), rows)


def _check_no_leak(trial: _Trial) -> None:
    rule, advice = "no state leak", "return new tensors, and store nothing outside the state"
    own = trial.policy.begin(trial.environment, trial.request)
    learners, before = trial.environment.simulator.start(trial.request), copied(own)
    first = trial.act(own, learners, 0)
    trial.answered(own, learners, first)
    need(rule, same(own, before), "act or see changed the state it was given", advice)
    again = trial.act(own, learners, 0)
    need(rule, torch.equal(first, again), "the same state gave other actions after another step", advice)


def _check_batch_independence(trial: _Trial) -> None:
    together = trial.taught()
    for row in range(min(len(trial.request), ALONE)):
        index = torch.tensor([row], device=together.device)
        draws = None if trial.draws is None else trial.draws.select(index)
        alone = replace(trial, request=trial.request.select(index), draws=draws).taught()
        alike = torch.equal(alone, together[index, : alone.shape[1]])
        found = f"learner {row} alone is taught otherwise than among {len(trial.request)}"
        need("batch independence", alike, found, "let no row depend on another (normalisation, shared draws)")


def _check_ended_rows(trial: _Trial) -> None:
    ended = torch.arange(len(trial.request), device=trial.request.length.device) % 2 == 0
    alike = torch.equal(trial.taught()[~ended], trial.taught(ended)[~ended])
    found = "the end of some paths changed the actions for others"
    need("ended rows", alike, found, "let no row depend on whether another has ended")
