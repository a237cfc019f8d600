"""Episodes: the only way to meet a learner."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.protocols import Act, Environment, Goal, Policy, Simulator
from lpr_lightning.types import PAD, InteractionBatch, PathRequest, Rollout, State, repeat_rows

ANSWERS, ACTIONS = 0, 1  # streams of random numbers of a step


@torch.no_grad()
def rollout(
    simulator: Simulator,
    goal: Goal,
    request: PathRequest,
    policy: Policy,
    draws: Draws | None = None,
    group_size: int = 1,
    horizon: int | None = None,
    early_stop: bool = False,
    sample: bool = False,
    model: Simulator | None = None,
) -> Rollout:
    """Let each learner of `request` (B) be taught `group_size` (K) times by a policy, and return what happened.

    A policy begins, acts, sees the answer, and acts again; the episode owns answers, scores and its end. Every history
    is read once, however many episodes start from it.

    Args:
        simulator: the learners.
        goal: what the episodes are for.
        request: histories, targets and wanted lengths.
        policy: what recommends.
        draws: random numbers of the requests [B], for answers and for a policy that samples; without them both are
            the likeliest.
        group_size: episodes of each request.
        horizon: most steps of every episode; None takes the wanted length of each request.
        early_stop: end an episode as soon as the exam is full, as in the public code of the KES protocol.
        sample: let the policy sample its actions by `draws` instead of taking the likeliest.
        model: what the policy may look into; default the simulator itself. Policies that search then plan on a model
            of the learners, while the learners answer.
    """
    environment = Environment(simulator if model is None else model, goal)
    state = simulator.start(request)
    concept = goal.choose(simulator, state, request)
    mastery_before = simulator.mastery(state).repeat_interleave(group_size, 0)
    own = repeat_rows(policy.begin(environment, request), group_size)
    state, request = repeat_rows(state, group_size), request.repeat(group_size)
    concept = concept.repeat_interleave(group_size, 0)
    draws = None if draws is None else draws.fork(group_size)
    limit = request.length if horizon is None else torch.full_like(request.length, horizon)
    targets = _marked(torch.zeros_like(request.targets), concept)
    standing = goal.assess(simulator, state, concept)
    full = standing.score >= standing.best
    stopped, ended = torch.zeros_like(full), torch.zeros_like(full)
    steps: list[_Step] = []
    for number in range(int(limit.max()) if len(request) else 0):
        stopped = stopped | (full & ~ended) if early_stop else stopped
        ended = ended | stopped | (number >= limit)
        now = None if draws is None else draws.at(number)
        act = policy.act(environment, own, concept, now.at(ACTIONS) if now is not None and sample else None)
        action = act.action.masked_fill(ended, PAD)
        ended = ended | (action == PAD)
        if bool(ended.all()):
            break
        asked = simulator.actions.at(action)
        predicted = simulator.predict(state, asked).masked_fill(ended, 0.0)
        response = simulator.respond(predicted, None if now is None else now.at(ANSWERS)).masked_fill(ended, 0.0)
        state = simulator.practise(state, asked, response)
        own = policy.see(environment, own, action, response)
        after = goal.assess(simulator, state, concept)
        log_prob = None if act.log_prob is None else act.log_prob.masked_fill(ended, 0.0)
        gain = after.mastery - standing.mastery
        steps.append(_Step(action, asked.concept, asked.item, response, predicted, gain, log_prob))
        if goal.every_step:
            concept = goal.choose(simulator, state, request)
            targets = _marked(targets, concept)
            after = goal.assess(simulator, state, concept)
        standing, full = after, after.score >= after.best
    mastery_after = simulator.mastery(state)
    return Rollout(
        session=_session(steps, request),
        action=_stacked([step.action for step in steps], request.length),
        predicted=_stacked([step.predicted for step in steps], mastery_after[:, 0]),
        gain=_stacked([step.gain for step in steps], mastery_after[:, 0]),
        score_before=goal.mark(mastery_before, targets),
        score_after=goal.mark(mastery_after, targets),
        score_max=targets.sum(1).to(mastery_after),
        mastery_before=mastery_before,
        mastery_after=mastery_after,
        targets=targets,
        wanted_length=request.length,
        stopped=stopped | (full & ~ended) if early_stop else stopped,
        group_size=group_size,
        log_prob=_log_prob(steps),
    )


@dataclass(frozen=True)
class FixedPaths:
    """A policy that follows given paths [B, L] of actions, -1 after their end, whatever the answers.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(2)
    >>> request = ladder.request(targets=[[1]], length=2)
    >>> rollout(ladder, Targets(), request, FixedPaths(torch.tensor([[0, 1]]))).mastery_after
    tensor([[0.5000, 0.5000]])
    """

    path: Tensor
    name: str = "fixed"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the paths and how far they were followed."""
        if len(self.path) != len(request):
            raise SettingError("path", tuple(self.path.shape), f"{len(request)} rows, one for each request")
        return start_of(self.path)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the next action of each path."""
        return follow(state)

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Go on by one step."""
        return went_on(state)


def start_of(path: Tensor) -> State:
    """Return the state of a policy that follows paths [B, L] from their first step."""
    return path, torch.zeros_like(path[:, 0]) if path.shape[1] else path.new_zeros(len(path))


def follow(state: State) -> Act:
    """Return the next actions of such a policy; -1 behind the end."""
    path, place = state[0], state[1]
    if not path.shape[1]:
        return Act(torch.full_like(place, PAD))
    action = path.gather(1, place.clamp_max(path.shape[1] - 1)[:, None]).squeeze(1)
    return Act(action.masked_fill(place >= path.shape[1], PAD))


def went_on(state: State) -> State:
    """Return its state one step later."""
    return state[0], state[1] + 1, *state[2:]


def follow_paths(
    simulator: Simulator,
    goal: Goal,
    request: PathRequest,
    path: Tensor,
    draws: Draws | None = None,
    group_size: int = 1,
    early_stop: bool = False,
) -> Rollout:
    """Let each learner of `request` (B) follow its `group_size` fixed paths (`path` [B * K, L], -1 after the end)."""
    if path.shape[0] != len(request) * group_size:
        allowed = f"{len(request) * group_size} rows, group_size paths for each request"
        raise SettingError("path", tuple(path.shape), allowed)
    grouped = path.view(len(request), -1) if len(request) else path.new_empty(0, path.shape[1])
    policy = _Grouped(grouped, path.shape[1])
    return rollout(simulator, goal, request, policy, draws, group_size, path.shape[1], early_stop)


@dataclass(frozen=True)
class _Grouped:
    """Follows K paths of each request, which stand one after the other in a row of `path` [B, K * L]."""

    path: Tensor
    length: int
    name: str = "fixed"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the paths of each request; each of its copies takes the next of them at its first step."""
        return start_of(self.path)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the next action of each path."""
        rows, place = state[0], state[1]
        count = rows.shape[1] // max(self.length, 1)
        copy = torch.arange(len(place), device=place.device) % max(count, 1)
        return Act(rows.gather(1, (copy * self.length + place)[:, None]).squeeze(1))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Go on by one step."""
        return went_on(state)


@dataclass(frozen=True)
class _Step:
    """What happened to all rows at one step."""

    action: Tensor
    concept: Tensor
    item: Tensor
    response: Tensor
    predicted: Tensor
    gain: Tensor
    log_prob: Tensor | None


def _session(steps: list[_Step], request: PathRequest) -> InteractionBatch:
    if not steps:
        return InteractionBatch.empty(len(request), request.length.device, request.learner)
    action = torch.stack([step.action for step in steps], 1)
    return InteractionBatch(
        concept=torch.stack([step.concept for step in steps], 1),
        item=torch.stack([step.item for step in steps], 1),
        correct=torch.stack([step.response for step in steps], 1),
        mask=action != PAD,
        learner=request.learner,
    )


def _stacked(values: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(values, 1) if values else like.new_zeros(len(like), 0)


def _log_prob(steps: list[_Step]) -> Tensor | None:
    values = [step.log_prob for step in steps if step.log_prob is not None]
    return torch.stack(values, 1) if values else None


def _marked(targets: Tensor, concept: Tensor) -> Tensor:
    """Return `targets` [B, N] with the concepts [B, M] added."""
    wider = torch.cat([targets, torch.zeros_like(targets[:, :1])], 1)
    return wider.scatter(1, torch.where(concept < 0, targets.shape[1], concept), True)[:, :-1]
